package output

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
)

// Tar writes the root filesystem as a tar. With several platforms each is in a directory of
// its own, "linux_amd64".
type Tar struct{ file file }

// NewTar returns the output for the file dest, "-" being the standard output.
func NewTar(dest string, stdout io.Writer) *Tar { return &Tar{file{dest, stdout}} }

// String implements Output.
func (t *Tar) String() string { return "writing tar " + t.file.dest }

// Prepare implements Output.
func (t *Tar) Prepare(ctx context.Context, b *image.Built) (Pending, error) {
	return t.file.prepare(ctx, func(ctx context.Context, w io.Writer) error {
		l, err := flatten(ctx, b, b.Joined())
		if err != nil {
			return err
		}
		_, err = layer.WriteTar(ctx, w, l)
		return err
	})
}

// flatten is the root filesystem as one layer. With split each platform is in its own directory.
func flatten(ctx context.Context, b *image.Built, split bool) (layer.Layer, error) {
	var files []layer.File
	for i, img := range b.Images() {
		prefix := ""
		if split {
			prefix = platformDir(img.Platform())
			files = append(files, layer.File{Entry: layer.Entry{Path: prefix, Type: layer.Directory, Mode: 0o755, ModTime: time.Unix(0, 0)}})
			prefix += "/"
		}
		own, err := flattenImage(ctx, img, prefix)
		if err != nil {
			return nil, err
		}
		files = append(files, own...)
		said, err := statements(ctx, b, i, prefix, split)
		if err != nil {
			return nil, err
		}
		files = append(files, said...)
	}
	l, err := layer.New(files)
	if err != nil {
		return nil, err
	}
	if epoch := b.Options().Epoch; epoch != nil {
		return layer.Clamp(l, *epoch), nil
	}
	return l, nil
}

// statements are files with what is said about an image, as BuildKit names them: provenance.json, and where the images of several
// platforms are in one directory, provenance.linux_amd64.json.
func statements(ctx context.Context, b *image.Built, i int, prefix string, split bool) ([]layer.File, error) {
	img := b.Images()[i]
	view, err := img.Tree().View(ctx)
	if err != nil {
		return nil, err
	}
	var files []layer.File
	for _, s := range b.Statements(i) {
		name := s.Name
		if b.Joined() && !split {
			ext := path.Ext(name)
			name = strings.TrimSuffix(name, ext) + "." + platformDir(img.Platform()) + ext
		}
		if _, err := view.Lookup("/" + name); err == nil {
			return nil, fmt.Errorf("the image has a file /%s itself, where a statement about it should go", name)
		}
		files = append(files, layer.File{
			Entry:   layer.Entry{Path: prefix + name, Type: layer.Regular, Mode: 0o644, Size: int64(len(s.Content)), ModTime: b.Options().Now},
			Content: layer.Bytes(s.Content),
		})
	}
	return files, nil
}

func flattenImage(ctx context.Context, img *image.Image, prefix string) ([]layer.File, error) {
	view, err := img.Tree().View(ctx)
	if err != nil {
		return nil, err
	}
	var files []layer.File
	first := map[*layer.Entry]string{} // the entry is the identity of the inode
	for p, n := range view.Walk("") {
		if p == "" {
			continue
		}
		f := layer.File{Entry: *n.Entry()}
		f.Path = prefix + p
		f.Opaque = false
		if !n.IsDir() && n.Linked() {
			if target, ok := first[n.Entry()]; ok {
				f.Entry = layer.Entry{Path: f.Path, Type: layer.Hardlink, Link: target}
				files = append(files, f)
				continue
			}
			first[n.Entry()] = f.Path
		}
		if n.IsRegular() {
			f.Content = layer.From(n.Layer(), n.Entry().Path)
		}
		files = append(files, f)
	}
	return files, nil
}

// platformDir is a platform as a directory name, as BuildKit writes it: windows_amd64 and, where the
// platform has a version, windows(10.0.17763)_amd64.
func platformDir(p v1.Platform) string {
	s := platforms.FormatAll(image.OCIPlatform(p))
	return strings.NewReplacer("/", "_", `\`, "_", ":", "_").Replace(s)
}
