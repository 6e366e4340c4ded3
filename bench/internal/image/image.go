// Package image makes the base images of the benchmarks and pushes them to a registry.
package image

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/testbase"
)

// Names of the bases, which are repositories of the registry.
const (
	Debian = "debian" // a minimal Debian
	Go     = "golang" // Debian with the Go toolchain of this machine
	Node   = "node"   // Debian with Node.js and npm
)

// Push makes the bases, with gzip layers that are kept in dir, and pushes them to the registry at host.
func Push(ctx context.Context, dir, host string) error {
	debian, err := layerOf(dir, "debian", func(w *tar.Writer) error { return debianRoot(ctx, w) })
	if err != nil {
		return err
	}
	toolchain, err := layerOf(dir, "golang", func(w *tar.Writer) error { return toolchain(ctx, w) })
	if err != nil {
		return err
	}
	node, err := layerOf(dir, "nodejs", func(w *tar.Writer) error { return debianRoot(ctx, w, "nodejs") })
	if err != nil {
		return err
	}
	npm, err := layerOf(dir, "npm", func(w *tar.Writer) error { return npm(ctx, w) })
	if err != nil {
		return err
	}
	for repository, layers := range map[string][]v1.Layer{Debian: {debian}, Go: {debian, toolchain}, Node: {node, npm}} {
		if err := push(ctx, host+"/"+repository+":base", layers); err != nil {
			return fmt.Errorf("pushing the base %s: %w", repository, err)
		}
	}
	return nil
}

func push(ctx context.Context, reference string, layers []v1.Layer) error {
	image, err := testbase.OCIImage(v1.Config{
		Env: []string{"PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Cmd: []string{"/bin/sh"},
	}, layers...)
	if err != nil {
		return err
	}
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		return err
	}
	return remote.Write(ref, image, remote.WithContext(ctx), ownConnections())
}

// layerOf gives a layer of the files that fill writes, made once.
func layerOf(dir, file string, fill func(*tar.Writer) error) (v1.Layer, error) {
	path := filepath.Join(dir, file+".tar.gz")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := writeLayer(path, fill); err != nil {
			return nil, fmt.Errorf("making the layer %s: %w", file, err)
		}
	}
	return tarball.LayerFromFile(path, tarball.WithMediaType(types.OCILayer))
}

func writeLayer(path string, fill func(*tar.Writer) error) (err error) {
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	if err := errors.Join(fill(w), w.Close(), z.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// debianRoot writes a minimal Debian with packages.
func debianRoot(ctx context.Context, w *tar.Writer, packages ...string) error {
	path, err := testbase.Debian(ctx, packages...)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return copyTar(w, f, func(h *tar.Header) bool { return true })
}

// copyTar copies the entries that keep changes or leaves alone, and not those of which it says false.
func copyTar(w *tar.Writer, from io.Reader, keep func(*tar.Header) bool) error {
	for r := tar.NewReader(from); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !keep(h) {
			continue
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(w, r); err != nil {
			return err
		}
	}
}

// toolchain writes the Go toolchain of this machine to /usr/local/go.
func toolchain(ctx context.Context, w *tar.Writer) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	root := strings.TrimSpace(string(out))
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return add(w, "usr/local/go/"+rel, path, d)
	})
}

// add writes a file, owned by root.
func add(w *tar.Writer, name, path string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	link := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = filepath.Clean(name), 0, 0, "", ""
	if info.IsDir() {
		h.Name += "/"
	}
	if err := w.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// npm writes npm to /usr/local/lib/node_modules, and its command.
func npm(ctx context.Context, w *tar.Writer) error {
	dir, err := os.MkdirTemp("", "slipway-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	archive, err := testbase.NPM(ctx, dir)
	if err != nil {
		return err
	}
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	err = copyTar(w, z, func(h *tar.Header) bool {
		h.Name = strings.Replace(h.Name, "package/", "usr/local/lib/node_modules/npm/", 1)
		h.Uid, h.Gid = 0, 0
		return true
	})
	if err != nil {
		return err
	}
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/local/bin/npm", Linkname: "../lib/node_modules/npm/bin/npm-cli.js", Mode: 0o777})
}

// ownConnections ends a connection with each request: what is sent over those that are open is not counted yet.
func ownConnections() remote.Option {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = true
	return remote.WithTransport(t)
}
