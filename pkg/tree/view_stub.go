package tree

import "context"

// View is the merged filesystem.
type View struct{}

var emptyView = &View{}

type lazyView struct{}

func (l *lazyView) load(ctx context.Context, t *Tree) (*View, error) { return nil, nil }

// User is a resolved user.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Home     string
}
