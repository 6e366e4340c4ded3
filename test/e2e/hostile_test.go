package e2e

import (
	"archive/tar"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// pushLayer pushes an image of one layer, made of the given headers, and returns its digest.
func pushLayer(t *testing.T, ref string, headers ...tar.Header) v1.Hash {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		h.Size = 0
		if h.Typeflag == tar.TypeReg {
			h.Size = 4
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte("evil")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	r, err := name.ParseReference(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, img); err != nil {
		t.Fatal(err)
	}
	digest, err := layer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// damaging is a registry that changes the blob of a given digest on its way.
type damaging struct {
	http.Handler
	digest string
	damage func([]byte) []byte
}

func (d *damaging) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if d.damage == nil || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, d.digest) {
		d.Handler.ServeHTTP(w, r)
		return
	}
	answer := httptest.NewRecorder()
	r.Header.Del("Range")
	d.Handler.ServeHTTP(answer, r)
	w.WriteHeader(answer.Code)
	_, _ = w.Write(d.damage(answer.Body.Bytes())) // the client may go away; that is what is tested
}

// What a base image can do at worst is to make the build fail, with the line that asked for it.
func TestHostileBaseImages(t *testing.T) {
	dir := tar.Header{Name: "d", Typeflag: tar.TypeDir, Mode: 0o755}
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	link := func(name, target string) tar.Header {
		return tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink, Mode: 0o777}
	}
	for _, c := range []struct {
		name    string
		headers []tar.Header
		damage  func([]byte) []byte
		message string
		reason  string // the result ERROR_REASON
	}{
		{"climbs out by dots", []tar.Header{dir, file("../evil")}, nil, "../evil", "DockerfileError"},
		{"climbs out in the middle", []tar.Header{dir, file("d/../../evil")}, nil, "evil", "DockerfileError"},
		{"climbs out through a link", []tar.Header{link("l", "../../.."), file("l/evil")}, nil, "climbs out through a symlink", "DockerfileError"},
		{"hard link out of the root", []tar.Header{{Name: "h", Linkname: "../../etc/passwd", Typeflag: tar.TypeLink}}, nil, "h", "DockerfileError"},
		{"corrupt", []tar.Header{file("f")}, func(b []byte) []byte { b = bytes.Clone(b); b[len(b)/2] ^= 1; return b }, "digest", "RegistryRefused"},
		{"truncated", []tar.Header{file("f")}, func(b []byte) []byte { return b[:len(b)/2] }, "truncated", "RegistryUnavailable"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			handler := &damaging{Handler: registry.New()}
			server := httptest.NewServer(handler)
			t.Cleanup(server.Close)
			host := strings.TrimPrefix(server.URL, "http://")
			digest := pushLayer(t, host+"/base:1", c.headers...)
			handler.digest, handler.damage = digest.String(), c.damage
			work := t.TempDir()
			context := write(t, map[string]string{"Dockerfile": "FROM " + host + "/base:1\nCOPY x /new/\n", "x": "x"})
			got := slipway(t, work, "build", "-t", host+"/team/app:1", "--state-dir", t.TempDir(),
				"--oci-layout-path", "layout", "--results-dir", "results", context)
			if got.code == 0 {
				t.Fatal("the build succeeded")
			}
			if !strings.Contains(got.stderr, c.message) {
				t.Errorf("the message does not say %q", c.message)
			}
			if !strings.Contains(got.stderr, "slipway: Dockerfile:") {
				t.Error("the message does not name a line")
			}
			checkFailureResults(t, filepath.Join(work, "results"), c.reason, c.message)
			if left, err := os.ReadDir(work); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			if t.Failed() {
				t.Logf("standard error:\n%s", got.stderr)
			}
		})
	}
}
