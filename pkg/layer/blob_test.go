package layer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
)

// source is a blob whose behaviour can be changed, and which counts downloads.
type source struct {
	v1.Layer
	opened atomic.Int32
	serve  func(rc io.ReadCloser) io.ReadCloser // nil for the truth
	digest *v1.Hash
	diffID *v1.Hash
}

func (s *source) Compressed() (io.ReadCloser, error) {
	s.opened.Add(1)
	rc, err := s.Layer.Compressed()
	if err == nil && s.serve != nil {
		rc = s.serve(rc)
	}
	return rc, err
}

func (s *source) Digest() (v1.Hash, error) {
	if s.digest != nil {
		return *s.digest, nil
	}
	return s.Layer.Digest()
}

func (s *source) DiffID() (v1.Hash, error) {
	if s.diffID != nil {
		return *s.diffID, nil
	}
	return s.Layer.DiffID()
}

func newSource(t *testing.T) *source {
	return &source{Layer: blobOf(t, sample, compression.Options{})}
}

// kept lists what a state directory holds of layers.
func kept(t *testing.T, dir *state.Dir) []string {
	t.Helper()
	var names []string
	for _, kind := range []string{"blobs", "tars", "indexes"} {
		files, err := filepath.Glob(filepath.Join(dir.Path(), kind, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for range files {
			names = append(names, kind)
		}
	}
	temporary := try(filepath.Glob(filepath.Join(dir.Path(), "builds", "*", "*")))(t)
	return append(names, temporary...)
}

func TestBlobIsLazy(t *testing.T) {
	src, dir := newSource(t), stateDir(t)
	b := layer.FromBlob(src, dir)
	blob := b.Blob()
	for _, f := range []func() error{
		func() error { _, err := blob.Digest(); return err },
		func() error { _, err := blob.DiffID(); return err },
		func() error { _, err := blob.Size(); return err },
		func() error { _, err := blob.MediaType(); return err },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	if n := src.opened.Load(); n != 0 || len(kept(t, dir)) != 0 {
		t.Errorf("%d downloads, kept %v", n, kept(t, dir))
	}
}

func TestBlobIsFetchedOnce(t *testing.T) {
	src, dir := newSource(t), stateDir(t)
	var wg sync.WaitGroup
	for i := range 4 {
		b := layer.FromBlob(src, dir) // several layers of one blob, each with several users
		for range 4 {
			wg.Go(func() {
				switch i % 4 {
				case 0:
					if _, err := b.Index(t.Context()); err != nil {
						t.Error(err)
					}
				case 1:
					rc, err := b.Open(t.Context(), "srv/big")
					if err != nil {
						t.Error(err)
						return
					}
					if got, err := io.ReadAll(rc); string(got) != bigFile || err != nil {
						t.Errorf("%d bytes, %v", len(got), err)
					}
				case 2:
					rc, err := b.Blob().Compressed()
					if err != nil {
						t.Error(err)
						return
					}
					if h, _, err := v1.SHA256(rc); err != nil || h != try(src.Digest())(t) {
						t.Errorf("digest %v, %v", h, err)
					}
				case 3:
					rc, err := b.Blob().Uncompressed()
					if err != nil {
						t.Error(err)
						return
					}
					if h, _, err := v1.SHA256(rc); err != nil || h != try(src.DiffID())(t) {
						t.Errorf("diffID %v, %v", h, err)
					}
				}
			})
		}
	}
	wg.Wait()
	if n := src.opened.Load(); n != 1 {
		t.Errorf("%d downloads", n)
	}
	if got := kept(t, dir); !slices.Equal(got, []string{"blobs", "tars", "indexes"}) {
		t.Errorf("kept %v", got)
	}
}

// TestBlobIsFetchedOnceByProcesses has several processes share one state directory.
func TestBlobIsFetchedOnceByProcesses(t *testing.T) {
	if dir := os.Getenv("LAYER_TEST_CHILD"); dir != "" {
		fetchInChild(t, dir)
		return
	}
	dir := t.TempDir()
	blob := blobOf(t, sample, compression.Options{})
	content := try(io.ReadAll(try(blob.Compressed())(t)))(t)
	info := strings.Join([]string{try(blob.Digest())(t).String(), try(blob.DiffID())(t).String()}, " ")
	for name, data := range map[string]string{"blob": string(content), "info": info, "log": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBlobIsFetchedOnceByProcesses$")
			cmd.Env = append(os.Environ(), "LAYER_TEST_CHILD="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("child: %v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	if log := string(try(os.ReadFile(filepath.Join(dir, "log")))(t)); log != "download\n" {
		t.Errorf("downloads: %q", log)
	}
}

func fetchInChild(t *testing.T, dir string) {
	words := strings.Fields(string(try(os.ReadFile(filepath.Join(dir, "info")))(t)))
	src := &fileBlob{dir: dir, digest: try(v1.NewHash(words[0]))(t), diffID: try(v1.NewHash(words[1]))(t)}
	st := try(state.Open(filepath.Join(dir, "state")))(t)
	defer st.Close()
	if x := try(layer.FromBlob(src, st).Index(t.Context()))(t); x.Len() != len(sample) {
		t.Errorf("%d entries", x.Len())
	}
}

// fileBlob is a blob in a file; it logs downloads.
type fileBlob struct {
	v1.Layer
	dir            string
	digest, diffID v1.Hash
}

func (b *fileBlob) Digest() (v1.Hash, error) { return b.digest, nil }
func (b *fileBlob) DiffID() (v1.Hash, error) { return b.diffID, nil }

func (b *fileBlob) Size() (int64, error) {
	fi, err := os.Stat(filepath.Join(b.dir, "blob"))
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (b *fileBlob) Compressed() (io.ReadCloser, error) {
	log, err := os.OpenFile(filepath.Join(b.dir, "log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	if _, err := log.WriteString("download\n"); err != nil {
		return nil, err
	}
	if err := log.Close(); err != nil {
		return nil, err
	}
	return os.Open(filepath.Join(b.dir, "blob"))
}

// served makes the source give these bytes.
func served(edit func([]byte) []byte) func(io.ReadCloser) io.ReadCloser {
	return func(rc io.ReadCloser) io.ReadCloser {
		data, err := io.ReadAll(rc)
		if err != nil {
			panic(err)
		}
		return io.NopCloser(bytes.NewReader(edit(data)))
	}
}

func TestBlobVerifies(t *testing.T) {
	wrong := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}
	sha512 := v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("0", 128)}
	other := blobOf(t, sample[:3], compression.Options{})
	tests := []struct {
		name   string
		change func(s *source)
		want   string
		is     error
	}{
		{"wrong digest", func(s *source) { s.digest = &wrong }, "it has the digest sha256:", nil},
		{"wrong diffID", func(s *source) { s.diffID = &wrong }, "instead of the diffID", nil},
		{"other algorithm", func(s *source) { s.digest = &sha512 }, "sha512", nil},
		{"empty", func(s *source) { s.serve = served(func([]byte) []byte { return nil }) }, "truncated: 0 of", io.ErrUnexpectedEOF},
		{"truncated", func(s *source) { s.serve = served(func(b []byte) []byte { return b[:len(b)/2] }) }, "unexpected EOF", io.ErrUnexpectedEOF},
		{"one byte short", func(s *source) { s.serve = served(func(b []byte) []byte { return b[:len(b)-1] }) }, "unexpected EOF", io.ErrUnexpectedEOF},
		{"one byte long", func(s *source) { s.serve = served(func(b []byte) []byte { return append(b, 0) }) }, "", nil},
		{"endless", func(s *source) {
			s.serve = func(rc io.ReadCloser) io.ReadCloser { return io.NopCloser(io.MultiReader(rc, zeros{})) }
		}, "", nil},
		{"one bit changed", func(s *source) {
			s.serve = served(func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, "", nil},
		{"no gzip", func(s *source) {
			s.serve = served(func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) })
		}, "", nil},
		{"another layer", func(s *source) {
			s.serve = func(io.ReadCloser) io.ReadCloser { rc, _ := other.Compressed(); return rc }
		}, "truncated", nil},
		{"connection lost", func(s *source) {
			s.serve = func(rc io.ReadCloser) io.ReadCloser {
				return io.NopCloser(io.MultiReader(io.LimitReader(rc, 100), failing{os.ErrDeadlineExceeded}))
			}
		}, "", os.ErrDeadlineExceeded},
	}
	users := map[string]func(ctx context.Context, b layer.Blob) error{
		"Index": func(ctx context.Context, b layer.Blob) error { _, err := b.Index(ctx); return err },
		"Open":  func(ctx context.Context, b layer.Blob) error { _, err := b.Open(ctx, "srv/big"); return err },
		"Compressed": func(_ context.Context, b layer.Blob) error {
			rc, err := b.Blob().Compressed()
			if err == nil {
				return rc.Close()
			}
			return err
		},
	}
	for _, tt := range tests {
		for user, use := range users {
			if tt.name == "wrong diffID" && user == "Compressed" {
				continue // what is not decompressed has no diffID to verify
			}
			t.Run(tt.name+"/"+user, func(t *testing.T) {
				src, dir := newSource(t), stateDir(t)
				tt.change(src)
				b := layer.FromBlob(src, dir)
				err := use(t.Context(), b)
				if err == nil || !strings.Contains(err.Error(), tt.want) && user != "Compressed" {
					t.Fatalf("error is %v, want one that says %q", err, tt.want)
				}
				if !strings.Contains(err.Error(), try(src.Digest())(t).String()) {
					t.Errorf("error %q does not name the digest", err)
				}
				if tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("error %q does not match %v", err, tt.is)
				}
				for _, name := range kept(t, dir) {
					// The blob itself may be what its digest says.
					if tt.name != "wrong diffID" || name != "blobs" {
						t.Errorf("kept %q", name)
					}
				}
				// When the fault is gone, the same layer works.
				src.serve, src.digest, src.diffID = nil, nil, nil
				if err := use(t.Context(), b); err != nil {
					t.Errorf("second attempt: %v", err)
				}
			})
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestBlobHostileTar(t *testing.T) {
	var b bytes.Buffer
	good := tarOf(t, sample[2:3])
	copy(good, "../ping\x00")
	b.Write(good)
	hostile := &rawBlob{data: b.Bytes()}
	dir := stateDir(t)
	_, err := layer.FromBlob(hostile, dir).Index(t.Context())
	if err == nil || !strings.Contains(err.Error(), try(hostile.Digest())(t).String()) {
		t.Errorf("error is %v", err)
	}
	if got := kept(t, dir); len(got) > 0 {
		t.Errorf("kept %v", got)
	}
}

// rawBlob is an uncompressed blob of any bytes.
type rawBlob struct {
	v1.Layer
	data []byte
}

func (b *rawBlob) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(b.data))
	return h, err
}
func (b *rawBlob) DiffID() (v1.Hash, error) { return b.Digest() }
func (b *rawBlob) Size() (int64, error)     { return int64(len(b.data)), nil }
func (b *rawBlob) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b.data)), nil
}

func TestBlobCancelled(t *testing.T) {
	src, dir := newSource(t), stateDir(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	pr, pw := io.Pipe() // a peer that never sends
	defer pw.Close()
	src.serve = func(io.ReadCloser) io.ReadCloser { cancel(errStopped); return pr }
	b := layer.FromBlob(src, dir)
	if _, err := b.Index(ctx); !errors.Is(err, errStopped) {
		t.Errorf("error is %v", err)
	}
	if got := kept(t, dir); len(got) > 0 {
		t.Errorf("kept %v", got)
	}
	src.serve = nil
	if _, err := b.Index(t.Context()); err != nil {
		t.Errorf("second attempt: %v", err)
	}
}

var errStopped = errors.New("stopped")

func TestBlobWithDamagedState(t *testing.T) {
	damage := map[string]func(path string) error{
		"removed":   os.Remove,
		"truncated": func(p string) error { return os.Truncate(p, 100) },
	}
	for name, hurt := range damage {
		for kind, downloads := range map[string]int32{"tars": 1, "indexes": 1, "blobs": 2} {
			t.Run(kind+" "+name, func(t *testing.T) {
				src, dir := newSource(t), stateDir(t)
				if _, err := layer.FromBlob(src, dir).Index(t.Context()); err != nil {
					t.Fatal(err)
				}
				for _, p := range try(filepath.Glob(filepath.Join(dir.Path(), kind, "*")))(t) {
					if err := hurt(p); err != nil {
						t.Fatal(err)
					}
				}
				b := layer.FromBlob(src, dir)
				rc := try(b.Open(t.Context(), "srv/big"))(t)
				if got := try(io.ReadAll(rc))(t); string(got) != bigFile {
					t.Error("content differs")
				}
				if h, _, err := v1.SHA256(try(b.Blob().Compressed())(t)); err != nil || h != try(src.Digest())(t) {
					t.Errorf("blob has the digest %v, %v", h, err)
				}
				if n := src.opened.Load(); n != downloads {
					t.Errorf("%d downloads, want %d", n, downloads)
				}
			})
		}
	}
}

func known(x *layer.Index) func(context.Context) (*layer.Index, error) {
	return func(context.Context) (*layer.Index, error) { return x, nil }
}

func TestIndexedBlob(t *testing.T) {
	src, dir := newSource(t), stateDir(t)
	x := try(layer.ReadTar(t.Context(), bytes.NewReader(tarOf(t, sample))))(t)
	b := layer.FromIndexedBlob(src, known(x), dir)
	if y := try(b.Index(t.Context()))(t); y != x || src.opened.Load() != 0 {
		t.Error("the known index was not used")
	}
	wrong := layer.FromIndexedBlob(src, known(try(layer.ReadTar(t.Context(), bytes.NewReader(tarOf(t, sample[:5]))))(t)), dir)
	if _, err := wrong.Open(t.Context(), "bin/ping"); err == nil || !strings.Contains(err.Error(), "cached index") {
		t.Errorf("with another layer's index: error is %v", err)
	}
}

// The sums of a known index are verified also where the blob was kept by somebody who needed none.
func TestKnownSumsAreVerified(t *testing.T) {
	dir, src := stateDir(t), newSource(t)
	if _, err := layer.FromBlob(src, dir).Index(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := try(layer.ReadTar(t.Context(), bytes.NewReader(tarOf(t, sample))))(t)
	right := layer.FromIndexedBlob(src, known(x), dir)
	try(io.ReadAll(try(right.Open(t.Context(), "bin/ping"))(t)))(t)
	i, ok := x.Find("bin/ping")
	if !ok {
		t.Fatal("the sample has no bin/ping")
	}
	x.At(i).Sum[0] ^= 1
	wrong := layer.FromIndexedBlob(src, known(x), dir)
	if _, err := wrong.Open(t.Context(), "bin/ping"); err == nil || !strings.Contains(err.Error(), "cached index") {
		t.Errorf("with another sum: error is %v", err)
	}
}

func TestBlobKeepsMountability(t *testing.T) {
	repo := try(name.NewDigest("registry.test/base@sha256:" + strings.Repeat("0", 64)))(t)
	m, ok := layer.FromBlob(&remote.MountableLayer{Layer: newSource(t), Reference: repo}, stateDir(t)).Blob().(*remote.MountableLayer)
	if !ok || m.Reference != repo {
		t.Errorf("blob is %T", m)
	}
}

func TestBlobIsValid(t *testing.T) {
	for _, a := range []compression.Algorithm{compression.Gzip, compression.None} {
		t.Run(a.String(), func(t *testing.T) {
			written := blobOf(t, sample, compression.Options{Algorithm: a})
			for _, b := range []v1.Layer{written, layer.FromBlob(written, stateDir(t)).Blob()} {
				if err := validate.Layer(b, validate.Fast); err != nil {
					t.Error(err)
				}
				if a == compression.Gzip {
					if err := validate.Layer(b); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
}

// TestTarParallel reads all entries at once by position, as unpacking does.
func TestTarParallel(t *testing.T) {
	l := layer.FromBlob(blobOf(t, sample, compression.Options{}), stateDir(t)).(layer.Tarred)
	tarFile := try(l.Tar(t.Context()))(t)
	var wg sync.WaitGroup
	for range 8 {
		for i, w := range sample {
			if w.Type != sample[2].Type { // Regular
				continue
			}
			wg.Go(func() {
				if got, err := io.ReadAll(try(tarFile.Content(i))(t)); string(got) != w.Content || err != nil {
					t.Errorf("%q: %d bytes, %v", w.Path, len(got), err)
				}
				offset, contiguous := tarFile.Extent(i)
				buf := make([]byte, len(w.Content))
				if n, err := tarFile.ReaderAt().ReadAt(buf, offset); !contiguous || string(buf) != w.Content || err != nil {
					t.Errorf("%q at %d: %d bytes, %v", w.Path, offset, n, err)
				}
			})
		}
	}
	wg.Wait()
	if _, ok := tarFile.ReaderAt().(*os.File); !ok {
		t.Errorf("the tar is a %T", tarFile.ReaderAt())
	}
}

// A blob that arrives damaged is fetched again, also where its consumers notice before the digest does; not for ever.
func TestDamagedBlobIsFetchedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		damages, want int32
	}{
		"whole": {0, 1}, "once": {1, 2}, "twice": {2, 3}, "always": {100, 3},
	} {
		for what, fetch := range map[string]func(layer.Blob) error{
			"index": func(b layer.Blob) error { _, err := b.Index(t.Context()); return err },
			"blob": func(b layer.Blob) error {
				rc, err := b.Blob().Compressed()
				if err != nil {
					return err
				}
				return rc.Close()
			},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				src, dir := newSource(t), stateDir(t)
				src.serve = func(rc io.ReadCloser) io.ReadCloser {
					content, err := io.ReadAll(rc)
					if err != nil {
						t.Error(err)
					}
					if src.opened.Load() <= test.damages {
						content[len(content)/2] ^= 0x20
					}
					return io.NopCloser(bytes.NewReader(content))
				}
				err := fetch(layer.FromBlob(src, dir))
				if ok := test.damages < 3; ok != (err == nil) || src.opened.Load() != test.want {
					t.Errorf("fetched %d times, want %d: %v", src.opened.Load(), test.want, err)
				}
				if err != nil && len(kept(t, dir)) > 0 {
					t.Errorf("left %v", kept(t, dir))
				}
			})
		}
	}
}
