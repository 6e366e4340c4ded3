package hostdir

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Fill gives dir, an empty directory, the content and metadata of the directory n, in the way of [Apply].
func Fill(ctx context.Context, n *tree.Node, dir string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	l, err := layer.New(filesOf(n))
	if err != nil {
		return fmt.Errorf("filling %s: %w", dir, err)
	}
	return Apply(ctx, root, l)
}

// filesOf lists everything in the directory n, with paths relative to that.
func filesOf(n *tree.Node) []layer.File {
	var files []layer.File
	first := map[*layer.Entry]string{} // names of one file share their entry
	for p, n := range n.Walk("") {
		f := layer.File{Entry: *n.Entry()}
		f.Path = p
		if name, again := first[n.Entry()]; again {
			files = append(files, layer.File{Entry: layer.Entry{Path: p, Type: layer.Hardlink, Link: name}})
			continue
		}
		if n.Linked() {
			first[n.Entry()] = p
		}
		if f.Type == layer.Regular && f.Size > 0 {
			f.Content = layer.From(n.Layer(), n.Entry().Path)
		}
		files = append(files, f)
	}
	return files
}
