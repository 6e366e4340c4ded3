package op

import (
	"context"
	"os"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Files are what a local source has: those in a [Directory], or those of an [Archive].
type Files interface {
	// selected is the layer of those that l asks for.
	selected(ctx context.Context, l *Local) (layer.Layer, error)
}

// Directory is the path of a directory of this machine. Everything in it belongs to root, whoever
// checked it out, and its content stays where it is.
type Directory string

func (dir Directory) selected(ctx context.Context, l *Local) (layer.Layer, error) {
	files, err := l.list(ctx, string(dir))
	if err != nil {
		return nil, err
	}
	// The root stays open to the end of the process: layers are read lazily, and
	// there are only a few of these.
	root, err := os.OpenRoot(string(dir))
	if err != nil {
		return nil, err
	}
	return layer.FromDir(root, files)
}
