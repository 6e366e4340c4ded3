package layer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-build/slipway/pkg/state"
)

// FromTar returns the layer that r is the serialised form of, compressed in any way that can be
// read. r is read at once, and its tar kept in the temporary area of dir. The result implements
// [Tarred].
func FromTar(ctx context.Context, r io.Reader, dir *state.Dir) (Layer, error) {
	u, err := newUnpacker(dir, true)
	if err != nil {
		return nil, err
	}
	if err := u.unpack(ctx, r); err != nil {
		return nil, errors.Join(fmt.Errorf("unpacking tar: %w", err), discard(u.file))
	}
	return &spooled{u.tar()}, nil
}

type spooled struct{ tar *Tar }

func (l *spooled) Index(context.Context) (*Index, error) { return l.tar.index, nil }

func (l *spooled) Tar(context.Context) (*Tar, error) { return l.tar, nil }

func (l *spooled) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	return openByPath(ctx, l, path)
}

func (l *spooled) OpenAt(_ context.Context, i int) (io.ReadCloser, error) { return l.tar.open(i) }
