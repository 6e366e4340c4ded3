package bucket_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"gocloud.dev/blob/memblob"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/bucket"
	"github.com/slipway-build/slipway/pkg/cache/cachetest"
)

func TestStore(t *testing.T) {
	for name, newStore := range map[string]func(t *testing.T) cache.Store{
		"directory": func(t *testing.T) cache.Store { return openDir(t, filepath.Join(t.TempDir(), "new", "cache")) },
		"memory":    func(t *testing.T) cache.Store { return bucket.Memory(t.Context()) },
		"prefix": func(t *testing.T) cache.Store {
			b := memblob.OpenBucket(nil)
			// Another store's objects are beside, and not in this one.
			put(t, bucket.New(t.Context(), b, "team/other", "mem://team/other"), "of the other")
			return bucket.New(t.Context(), b, "/team/a/", "mem://team/a")
		},
	} {
		t.Run(name, func(t *testing.T) { cachetest.Run(t, newStore) })
	}
}

func openDir(t *testing.T, path string) *bucket.Store {
	t.Helper()
	s, err := bucket.Dir(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s cache.Store, content string) v1.Descriptor {
	t.Helper()
	digest, size, err := v1.SHA256(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	d := v1.Descriptor{MediaType: types.OCILayer, Digest: digest, Size: size}
	if err := s.Put(t.Context(), d, func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}); err != nil {
		t.Fatal(err)
	}
	return d
}

func manifest(blobs ...v1.Descriptor) []byte {
	refs := make([]string, len(blobs))
	for i, d := range blobs {
		refs[i] = `{"digest":"` + d.Digest.String() + `"}`
	}
	return []byte(`{"schemaVersion":2,"layers":[` + strings.Join(refs, ",") + `]}`)
}

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	d := put(t, s, "a blob")
	if err := s.PutManifest(t.Context(), "record-1", manifest(d)); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"manifests/record-1.json":      string(manifest(d)),
		"blobs/sha256/" + d.Digest.Hex: "a blob",
	}
	for path, content := range want {
		got, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil || string(got) != content {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if got := files(t, dir); len(got) != len(want) {
		t.Errorf("there are further files: %q", got)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	if err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			all = append(all, p)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestHas(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	there, gone, cut := put(t, s, "there"), put(t, s, "gone"), put(t, s, "cut off")
	if err := s.PutManifest(t.Context(), "record", manifest(there, gone, cut)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "blobs/sha256", gone.Digest.Hex)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "blobs/sha256", cut.Digest.Hex), 3); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		blob v1.Descriptor
		want bool
	}{{there, true}, {gone, false}, {cut, false}} {
		if has, err := s.Has(t.Context(), test.blob); has != test.want || err != nil {
			t.Errorf("%s: %v, %v", test.blob.Digest, has, err)
		}
	}
	put(t, s, "cut off") // what is damaged is made whole
	if has, err := s.Has(t.Context(), cut); !has || err != nil {
		t.Errorf("a blob written again: %v, %v", has, err)
	}
}

// TestDamagedBlob has a blob of the right size be replaced once somebody has seen that it is another.
func TestDamagedBlob(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	d := put(t, s, "a blob")
	path := filepath.Join(dir, "blobs/sha256", d.Digest.Hex)
	if err := os.WriteFile(path, []byte("a blot"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		distrusted bool
		want       string
	}{{false, "a blot"}, {true, "a blob"}} {
		if test.distrusted {
			s.Distrust(d)
		}
		put(t, s, "a blob")
		if got, err := os.ReadFile(path); string(got) != test.want || err != nil {
			t.Errorf("distrusted %v, put again: %q, %v", test.distrusted, got, err)
		}
	}
}

// TestDeadWriter removes what a killed process left beside the objects, if nobody can be writing it.
func TestDeadWriter(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	d := put(t, s, "a blob")
	if err := s.PutManifest(t.Context(), "record", manifest(d)); err != nil {
		t.Fatal(err)
	}
	old, young := time.Now().Add(-2*time.Hour), time.Now()
	for name, modified := range map[string]time.Time{
		"manifests/record.json.17ab.tmp":             old,
		"manifests/record.json.17ac.tmp":             young,
		"blobs/sha256/" + d.Digest.Hex + ".17ab.tmp": old,
		"blobs/sha256/" + d.Digest.Hex + ".17ac.tmp": young,
		"blobs/sha256/" + strings.Repeat("ab", 32):   old,
		"blobs/sha256/" + strings.Repeat("cd", 32):   young,
	} {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := s.List(t.Context()); len(all) != 1 || err != nil {
		t.Errorf("the store lists %v, %v", all, err)
	}
	freed, err := s.Remove(t.Context(), nil, time.Hour)
	if freed != 8 || err != nil {
		t.Errorf("%d bytes were freed, %v", freed, err)
	}
	for _, p := range files(t, dir) {
		if info, err := os.Stat(p); err != nil || info.ModTime().Before(time.Now().Add(-time.Hour)) {
			t.Errorf("%s is still there, %v", p, err)
		}
	}
	if got := files(t, dir); len(got) != 5 {
		t.Errorf("left are %q", got)
	}
}

// TestFullDisk writes to a disk that has no place: nothing comes into being, and what was there stays.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("mounting needs CAP_SYS_ADMIN: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s := openDir(t, dir)
	if err := s.PutManifest(t.Context(), "record-a", []byte("the old one")); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 1<<20)
	if err := s.PutManifest(t.Context(), "record-a", []byte(large)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing a manifest: %v", err)
	}
	digest, size, err := v1.SHA256(strings.NewReader(large))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), v1.Descriptor{Digest: digest, Size: size}, func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(large)), nil
	}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing a blob: %v", err)
	}
	if raw, err := s.Manifest(t.Context(), "record-a"); err != nil || string(raw) != "the old one" {
		t.Errorf("the manifest is now %d bytes, error %v", len(raw), err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "blobs", "sha256")); err != nil || len(left) > 0 {
		t.Errorf("of the blob there is %v, error %v", left, err)
	}
}

func TestDamagedManifest(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, dir)
	put(t, s, "not referred to")
	if err := os.MkdirAll(filepath.Join(dir, "manifests"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifests/record.json"), bytes.Repeat([]byte("{"), 5<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Manifest(t.Context(), "record"); err == nil || !strings.Contains(err.Error(), "more than 4194304 bytes") {
		t.Errorf("a huge manifest: %v", err)
	}
	if err := s.PutManifest(t.Context(), "record", []byte("{")); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.Remove(t.Context(), nil, 0); freed != int64(len("not referred to")) || err != nil {
		t.Errorf("%d bytes were freed, %v", freed, err)
	}
}

// TestRedaction looks at what users see when a signed request fails.
func TestRedaction(t *testing.T) {
	signed := &url.Error{
		Op: "Get", URL: "https://user:hush@acct.blob.core.windows.net/c/key?sv=1&sig=hush%2Bhush", Err: errors.New("no such host"),
	}
	s := bucket.New(t.Context(), memblob.OpenBucket(nil), "", "mem://")
	digest, size, err := v1.SHA256(strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	err = s.Put(t.Context(), v1.Descriptor{Digest: digest, Size: size}, func() (io.ReadCloser, error) { return nil, signed })
	if err == nil || strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), "://acct.blob.core.windows.net/c/key") {
		t.Errorf("the error is %v", err)
	}
	if !errors.Is(err, signed) {
		t.Errorf("the cause of %v is lost", err)
	}
}
