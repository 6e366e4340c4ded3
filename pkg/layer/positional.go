package layer

import (
	"context"
	"io"
	"io/fs"
)

// Positional is implemented by layers whose content can be opened by the entry's position in
// the index, which saves looking up its path. All layers of this package do.
type Positional interface {
	Layer
	// OpenAt is Open for the i-th entry of the layer's index.
	OpenAt(ctx context.Context, i int) (io.ReadCloser, error)
}

// OpenAt opens the content of the i-th entry of x, which must be the index of l.
func OpenAt(ctx context.Context, l Layer, x *Index, i int) (io.ReadCloser, error) {
	if p, ok := l.(Positional); ok {
		return p.OpenAt(ctx, i)
	}
	return l.Open(ctx, x.At(i).Path)
}

// openByPath implements Layer.Open by OpenAt.
func openByPath(ctx context.Context, l Positional, path string) (io.ReadCloser, error) {
	x, err := l.Index(ctx)
	if err != nil {
		return nil, err
	}
	i, err := x.regular(path)
	if err != nil {
		return nil, err
	}
	return l.OpenAt(ctx, i)
}

// checkRegular returns the i-th entry if it has content.
func (x *Index) checkRegular(i int) (*Entry, error) {
	e := x.At(i)
	if e.Type != Regular {
		return nil, &fs.PathError{Op: "open", Path: e.Path, Err: fs.ErrInvalid}
	}
	return e, nil
}
