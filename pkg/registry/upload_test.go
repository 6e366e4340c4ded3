package registry_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/internal/testbase/faulty"
	"github.com/slipway-build/slipway/pkg/registry"
)

// uploads is a registry's part in uploads of blobs, with faults, before a registry that has none.
type uploads struct {
	t *testing.T
	s *server

	breakAt    []int // in which byte of a PATCH its connection breaks, one after the other; -1 for not
	partsMax   int64 // larger PATCHs are refused with 413, if it is not 0
	denyStatus bool  // what has been received is not told
	denyParts  bool  // no parts are taken

	mu    sync.Mutex
	got   []byte
	parts []string // Content-Range and length of each PATCH
}

func (u *uploads) serve(w http.ResponseWriter, r *http.Request) bool {
	if !strings.Contains(r.URL.Path, "/blobs/uploads/") {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch r.Method {
	case http.MethodPost:
		u.got = nil
	case http.MethodGet:
		if u.denyStatus {
			w.WriteHeader(http.StatusMethodNotAllowed)
			return true
		}
		u.tell(w, r)
		w.WriteHeader(http.StatusNoContent)
		return true
	case http.MethodPatch:
		return u.patch(w, r)
	}
	return false
}

func (u *uploads) tell(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Location", r.URL.Path)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, len(u.got)-1)))
}

func (u *uploads) patch(w http.ResponseWriter, r *http.Request) bool {
	of := r.Header.Get("Content-Range")
	u.parts = append(u.parts, fmt.Sprintf("%s/%d", of, r.ContentLength))
	switch {
	case u.partsMax > 0 && r.ContentLength > u.partsMax:
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return true
	case of != "" && (u.denyParts || !strings.HasPrefix(of, strconv.Itoa(len(u.got))+"-")):
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return true
	}
	stop := -1
	if len(u.breakAt) > 0 {
		stop, u.breakAt = u.breakAt[0], u.breakAt[1:]
	}
	body := io.Reader(r.Body)
	if stop >= 0 {
		body = io.LimitReader(body, int64(stop))
	}
	part, err := io.ReadAll(body)
	if err != nil {
		u.t.Error(err)
	}
	u.got = append(u.got, part...)
	if stop >= 0 {
		panic(http.ErrAbortHandler)
	}
	u.tell(w, r)
	w.WriteHeader(http.StatusAccepted)
	return true
}

// end ends an upload: what has been received goes to the registry as a whole.
func (u *uploads) end(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/blobs/uploads/") {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	whole := r.Clone(r.Context())
	whole.Body, whole.ContentLength = io.NopCloser(bytes.NewReader(u.got)), int64(len(u.got))
	u.s.inner.ServeHTTP(w, whole)
	return true
}

// blobOf is a blob of so many bytes that are the same each time, and cannot be compressed.
func blobOf(size int) (v1.Descriptor, func() (io.ReadCloser, error)) {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // it never fails
	desc := v1.Descriptor{MediaType: types.OCILayer, Size: int64(size), Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(content))}}
	return desc, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
}

func TestBrokenUploads(t *testing.T) {
	const mib = 1 << 20
	for name, test := range map[string]struct {
		size int
		*uploads
		want []string
	}{
		"whole":                        {size: 2 * mib, want: []string{"/2097152"}},
		"goes on":                      {size: 2 * mib, uploads: &uploads{breakAt: []int{mib}}, want: []string{"/2097152", "1048576-2097151/1048576"}},
		"goes on again and again":      {size: 2 * mib, uploads: &uploads{breakAt: []int{mib, 10, 10, 10, 10}}, want: []string{"/2097152", "1048576-2097151/1048576", "1048586-2097151/1048566", "1048596-2097151/1048556", "1048606-2097151/1048546", "1048616-2097151/1048536"}},
		"only the answer was lost":     {size: 2 * mib, uploads: &uploads{breakAt: []int{2 * mib}}, want: []string{"/2097152"}},
		"nothing arrived":              {size: 2 * mib, uploads: &uploads{breakAt: []int{0}}, want: []string{"/2097152", "/2097152"}},
		"a small one starts again":     {size: 1000, uploads: &uploads{breakAt: []int{500}}, want: []string{"/1000", "/1000"}},
		"what arrived is not told":     {size: 2 * mib, uploads: &uploads{breakAt: []int{mib}, denyStatus: true}, want: []string{"/2097152", "/2097152"}},
		"parts are not taken":          {size: 2 * mib, uploads: &uploads{breakAt: []int{mib}, denyParts: true}, want: []string{"/2097152", "1048576-2097151/1048576", "/2097152"}},
		"the whole is too large":       {size: 70 * mib, uploads: &uploads{partsMax: 50 * mib}, want: []string{"/73400320", "0-33554431/33554432", "33554432-67108863/33554432", "67108864-73400319/6291456"}},
		"the whole does not get there": {size: 40 * mib, uploads: &uploads{breakAt: []int{0}}, want: []string{"/41943040", "0-33554431/33554432", "33554432-41943039/8388608"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			u := test.uploads
			if u == nil {
				u = &uploads{}
			}
			u.t, u.s = t, s
			s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool { return u.end(w, r) || u.serve(w, r) })
			repo, err := newClient(t, registry.Options{}).Repository(s.host + "/app")
			if err != nil {
				t.Fatal(err)
			}
			desc, open := blobOf(test.size)
			if err := repo.Put(t.Context(), desc, open); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(u.parts, " "); got != strings.Join(test.want, " ") {
				t.Errorf("got the parts %s\nwant %s", got, strings.Join(test.want, " "))
			}
			rc, err := repo.Open(t.Context(), desc)
			if err != nil {
				t.Fatal(err)
			}
			defer rc.Close()
			h := sha256.New()
			if _, err := io.Copy(h, rc); err != nil || fmt.Sprintf("%x", h.Sum(nil)) != desc.Digest.Hex {
				t.Errorf("the registry has something else, %v", err)
			}
		})
	}
}

// An upload that arrives damaged, and one for which another token is needed in the middle, is sent again.
func TestUploadsStartAgain(t *testing.T) {
	for name, refuse := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"damaged": answering(http.MethodPut, "/blobs/uploads/", 400, `{"errors":[{"code":"DIGEST_INVALID","message":"other content"}]}`, nil),
		"500":     answering(http.MethodPatch, "/blobs/uploads/", 500, ``, nil),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			refused := false
			s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
				if refused {
					return false
				}
				refused = refuse(w, r)
				return refused
			})
			repo, err := newClient(t, registry.Options{}).Repository(s.host + "/app")
			if err != nil {
				t.Fatal(err)
			}
			desc, open := blobOf(1000)
			if err := repo.Put(t.Context(), desc, open); err != nil || !refused {
				t.Errorf("refused %t: %v", refused, err)
			}
		})
	}
}

// A token that expires while a blob is sent costs sending it again, and not the upload.
func TestUploadNeedsAnotherToken(t *testing.T) {
	s := serve(t)
	var sent atomic.Int32
	s.interceptWith(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			_, _ = fmt.Fprintf(w, `{"token":"t%d"}`, sent.Load())
			return true
		}
		expired := r.Method == http.MethodPatch && sent.Add(1) == 1
		if expired {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Error(err)
			}
		}
		if expired || r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, s.host))
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	})
	repo, err := newClient(t, registry.Options{}).Repository(s.host + "/app")
	if err != nil {
		t.Fatal(err)
	}
	desc, open := blobOf(2 << 20)
	if err := repo.Put(t.Context(), desc, open); err != nil {
		t.Fatal(err)
	}
	if n := s.count(http.MethodPost, "/blobs/uploads/"); n != 1 || sent.Load() != 2 {
		t.Errorf("%d uploads were begun, and the blob was sent %d times", n, sent.Load())
	}
}

// The same with the registry that most others are made from.
func TestUploadsToDistribution(t *testing.T) {
	r := distribution.Serve(t)
	proxy := faulty.Serve(t, r.Host, 0.3, 7)
	c := newClient(t, registry.Options{Retry: registry.Retry{Attempts: 12, Base: quick.Base, Max: quick.Max}})
	for i := range 20 {
		repo, err := c.Repository(fmt.Sprintf("%s/app%d", proxy.Host, i))
		if err != nil {
			t.Fatal(err)
		}
		desc, open := blobOf(3<<20 + i)
		if err := repo.Put(t.Context(), desc, open); err != nil {
			t.Error(err)
		}
	}
	t.Logf("faults: %v", proxy.Hits())
}

// A manifest that the registry has stored otherwise than it was sent, under its tag, is sent until it is right, and a push that
// does not get there fails.
func TestManifestThatArrivesDamaged(t *testing.T) {
	for _, test := range []struct{ damages, puts int }{{1, 2}, {3, 4}, {1000, quick.Attempts}} {
		s := serve(t)
		image := imageWith(t, amd64, "x")
		ref, err := name.ParseReference(s.host + "/x:1")
		if err != nil {
			t.Fatal(err)
		}
		puts := 0
		s.interceptWith(func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/manifests/1") {
				if puts++; puts <= test.damages {
					r.Body = io.NopCloser(io.MultiReader(strings.NewReader(" "), r.Body))
				}
			}
			return false
		})
		err = newClient(t, registry.Options{}).Push(t.Context(), ref, image)
		if puts != test.puts {
			t.Errorf("%d damages: sent %d times, want %d", test.damages, puts, test.puts)
		}
		if puts <= test.damages {
			if kind := kindOf(t, err); kind != registry.DigestMismatch {
				t.Errorf("%d damages: kind %d, %v", test.damages, kind, err)
			}
			continue
		}
		stored, storedErr := remote.Get(ref)
		if err := errors.Join(err, storedErr); err != nil {
			t.Fatal(err)
		}
		if want, err := image.Digest(); err != nil || stored.Digest != want {
			t.Errorf("%d damages: %s is stored, not %s, %v", test.damages, stored.Digest, want, err)
		}
	}
}
