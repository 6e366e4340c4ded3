package output

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/image"
)

// Archive writes a tar of an OCI layout. For Docker it also holds manifest.json, by which
// "docker load" of any version finds the image: the format of "docker save" since Docker 25.
// The same image gives the same bytes.
type Archive struct {
	file   file
	names  []layoutName
	docker bool
}

// NewArchive returns the output for the file dest, "-" being the standard output.
func NewArchive(dest string, stdout io.Writer, names []string, docker bool) (*Archive, error) {
	parsed, err := layoutNames(names)
	if err != nil {
		return nil, err
	}
	return &Archive{file: file{dest, stdout}, names: parsed, docker: docker}, nil
}

// String implements Output.
func (a *Archive) String() string {
	if a.docker {
		return "writing docker archive " + a.file.dest
	}
	return "writing oci archive " + a.file.dest
}

// Prepare implements Output.
func (a *Archive) Prepare(ctx context.Context, b *image.Built) (Pending, error) {
	if a.docker {
		if _, err := b.Single(); err != nil {
			return nil, fmt.Errorf("docker archives hold one image: %w: use type=oci", err)
		}
	}
	return a.file.prepare(ctx, func(ctx context.Context, w io.Writer) error { return a.write(ctx, w, b) })
}

func (a *Archive) write(ctx context.Context, w io.Writer, b *image.Built) error {
	members, err := a.members(b)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	dir := ""
	for _, m := range members {
		// Some readers want to see directories.
		for i := range m.path {
			if d := m.path[:i+1]; m.path[i] == '/' && !strings.HasPrefix(dir, d) {
				dir = d
				if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
					return err
				}
			}
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: m.path, Mode: 0o644, Size: m.desc.Size, ModTime: time.Unix(0, 0)}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if err := m.copyTo(ctx, tw); err != nil {
			return err
		}
	}
	return tw.Close()
}

// archived is a file of the archive.
type archived struct {
	path string
	content
}

func (a *Archive) members(b *image.Built) ([]archived, error) {
	list, err := contents(b)
	if err != nil {
		return nil, err
	}
	var out []archived
	for _, c := range list {
		out = append(out, archived{blobPath(c.desc.Digest), c})
	}
	index, err := indexJSON(descriptors(b, a.names))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"oci-layout": []byte(layoutFile), "index.json": index}
	if a.docker {
		if files["manifest.json"], err = a.dockerManifest(b); err != nil {
			return nil, err
		}
	}
	for p, raw := range files {
		h, n, err := v1.SHA256(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		out = append(out, archived{p, inMemory(v1.Descriptor{Digest: h, Size: n}, raw)})
	}
	slices.SortFunc(out, func(a, b archived) int { return strings.Compare(a.path, b.path) })
	return out, nil
}

func (a *Archive) dockerManifest(b *image.Built) ([]byte, error) {
	img, err := b.Single()
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigName()
	if err != nil {
		return nil, err
	}
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	e := entry{Config: blobPath(config), Layers: []string{}}
	for _, l := range img.List() {
		e.Layers = append(e.Layers, blobPath(l.Digest))
	}
	for _, n := range a.names {
		e.RepoTags = append(e.RepoTags, familiar(n.full))
	}
	return json.Marshal([]entry{e})
}
