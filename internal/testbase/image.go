package testbase

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// made is the time of everything in the image, which is thus the same at each call. A function,
// so that nothing can change it.
func made() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// Image is a base image of one layer for the machine's platform: the program in /bin under
// all its names, a root filesystem's usual directories, the users root, demo and nobody.
func (p *Program) Image() (v1.Image, error) {
	rootfs, err := p.rootfs()
	if err != nil {
		return nil, fmt.Errorf("making a root filesystem: %w", err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(rootfs)), nil
	})
	if err != nil {
		return nil, fmt.Errorf("making a layer: %w", err)
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: made()}, CreatedBy: "root filesystem of " + p.Name},
	})
	if err != nil {
		return nil, fmt.Errorf("making an image: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("making an image: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", runtime.GOARCH, v1.Time{Time: made()}
	config.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	config.Config.Cmd = []string{"sh"}
	return mutate.ConfigFile(image, config)
}

// rootfs is the layer's tar.
func (p *Program) rootfs() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, content string) error {
		h.ModTime, h.Size = made(), int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := io.WriteString(w, content)
		return err
	}
	for _, d := range []struct {
		name string
		mode int64
	}{
		{"bin/", 0o755}, {"dev/", 0o755}, {"etc/", 0o755}, {"home/", 0o755}, {"proc/", 0o755}, {"root/", 0o700},
		{"sys/", 0o755}, {"tmp/", 0o1777}, {"usr/", 0o755}, {"usr/bin/", 0o755}, {"var/", 0o755}, {"var/tmp/", 0o1777},
	} {
		if err := add(tar.Header{Typeflag: tar.TypeDir, Name: d.name, Mode: d.mode}, ""); err != nil {
			return nil, err
		}
	}
	for _, f := range []struct {
		name, content string
		mode          int64
	}{
		{"bin/" + p.Name, string(p.Data), 0o755},
		{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndemo:x:1000:1000:demo:/home:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", 0o644},
		{"etc/group", "root:x:0:\nstaff:x:50:demo\ndemo:x:1000:\nnogroup:x:65534:\n", 0o644},
	} {
		if err := add(tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode}, f.content); err != nil {
			return nil, err
		}
	}
	for _, command := range p.Commands {
		if command == p.Name {
			continue
		}
		if err := add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + command, Linkname: p.Name, Mode: 0o777}, ""); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
