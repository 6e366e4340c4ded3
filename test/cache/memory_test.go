package stores

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// TestMemory uploads what must not be in memory as a whole, to servers that keep nothing of it.
func TestMemory(t *testing.T) {
	const size, limit = 400 << 20, 96 << 20
	noise := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{2}), size) }
	h := sha256.New()
	if _, err := io.Copy(h, noise()); err != nil {
		t.Fatal(err)
	}
	d := v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}, Size: size}

	var got atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			t.Error(err)
		}
		q := r.URL.Query()
		switch {
		case r.Method == http.MethodHead, r.Method == http.MethodGet:
			w.WriteHeader(http.StatusNotFound)
		case q.Has("uploads"):
			fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>`)
		case q.Has("partNumber"):
			got.Add(n)
			w.Header().Set("ETag", `"1"`)
		case q.Has("uploadId"):
			fmt.Fprint(w, `<CompleteMultipartUploadResult><ETag>"1"</ETag></CompleteMultipartUploadResult>`)
		case q.Get("uploadType") == "resumable":
			w.Header().Set("Location", "http://"+r.Host+"/session")
		case r.URL.Path == "/session":
			if got.Add(n) < size {
				w.Header().Set("Range", fmt.Sprintf("bytes=0-%d", got.Load()-1))
				w.WriteHeader(http.StatusPermanentRedirect)
			}
		default:
			t.Errorf("unexpected: %s %s", r.Method, r.URL)
		}
	}))
	t.Cleanup(s.Close)
	withoutAccount(t)
	t.Setenv("STORAGE_EMULATOR_HOST", s.URL)
	for _, spec := range []string{"s3://bucket/a?use_path_style=true&endpoint=" + s.URL, "gs://bucket/a"} {
		store := open(t, spec)
		t.Run(store.String(), func(t *testing.T) {
			got.Store(0)
			w := &watched{r: noise()}
			if err := store.Put(t.Context(), d, func() (io.ReadCloser, error) { return io.NopCloser(w), nil }); err != nil {
				t.Fatal(err)
			}
			if got.Load() != size {
				t.Errorf("the server got %d bytes", got.Load())
			}
			t.Logf("at most %d MiB in memory", w.peak>>20)
			if w.peak == 0 || w.peak > limit {
				t.Errorf("the upload of %d MiB took %d MiB of memory", size>>20, w.peak>>20)
			}
		})
	}
}

// watched looks at the memory that is in use while it is read.
type watched struct {
	r     io.Reader
	reads int
	peak  uint64
}

func (w *watched) Read(p []byte) (int, error) {
	if w.reads++; w.reads%16 == 0 {
		runtime.GC() // what is left is in use
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		w.peak = max(w.peak, m.HeapAlloc)
	}
	return w.r.Read(p)
}
