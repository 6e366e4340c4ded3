package op

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"

	"github.com/slipway-build/slipway/pkg/extract"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/tree"
)

// mount translates m for the backend. It is nil for an optional secret or agent that was not
// given. undo, if not nil, gives back what the mount holds.
func (m *ExecMount) mount(ctx context.Context, env *Env, in []Input) (_ *isolation.Mount, undo func() error, err error) {
	out := &isolation.Mount{
		Type: m.Type, Target: m.Dest, ReadOnly: m.ReadOnly, Selector: m.Selector,
		UID: m.UID, GID: m.GID, Mode: fs.FileMode(m.Mode) & fs.ModePerm,
	}
	if m.Input >= 0 {
		out.Tree = in[m.Input].Tree
	}
	switch m.Type {
	case isolation.MountBind:
		out.Output = m.hasOutput()
	case isolation.MountTmpfs:
		out.Size = m.TmpfsSize
	case isolation.MountSecret:
		if out.Data, err = secret(ctx, env, m.SecretID, m.Optional); err != nil || out.Data == nil {
			return nil, nil, err
		}
	case isolation.MountSSH:
		id := cmp.Or(m.SecretID, "default")
		socket, ok := env.Agents[id]
		if !ok && m.Optional {
			return nil, nil, nil
		}
		if !ok {
			return nil, nil, fmt.Errorf("ssh agent %q is required but was not given: add --ssh %s", id, id)
		}
		out.HostSocket = socket
	case isolation.MountCache:
		out.HostDir, undo, err = m.cacheDir(ctx, env, in)
		if err != nil {
			return nil, nil, err
		}
		out.Tree, out.Selector = nil, ""
	default:
		return nil, nil, fmt.Errorf("mount %s: unknown type %d", m.Dest, m.Type)
	}
	return out, undo, nil
}

// cacheDir gives the directory of a cache mount, held as its sharing mode asks.
func (m *ExecMount) cacheDir(ctx context.Context, env *Env, in []Input) (dir string, undo func() error, err error) {
	id := sha256.Sum256([]byte(m.CacheID))
	name := hex.EncodeToString(id[:])
	if m.Input >= 0 {
		// A cache that starts from other content is another cache.
		k, err := in[m.Input].Key(ctx)
		if err != nil {
			return "", nil, err
		}
		based := sha256.Sum256(append(append(id[:], k[:]...), m.Selector...))
		name = hex.EncodeToString(based[:])
	}
	undo = func() error { return nil }
	switch m.Sharing {
	case CacheLocked:
		unlock, err := env.State.Lock(ctx, "cachemount-"+name)
		if err != nil {
			return "", nil, fmt.Errorf("waiting for cache mount %s: %w", m.Dest, err)
		}
		undo = func() error { unlock(); return nil }
	case CachePrivate:
		for i := 0; ; i++ {
			candidate := fmt.Sprintf("%s-%d", name, i)
			unlock, err := env.State.TryLock("cachemount-" + candidate)
			if err != nil {
				return "", nil, fmt.Errorf("cache mount %s: %w", m.Dest, err)
			}
			if unlock != nil {
				name = candidate
				undo = func() error { unlock(); return nil }
				break
			}
		}
	}
	dir, err = env.State.Tree(ctx, "cachemounts", name, func(ctx context.Context, dir string) error {
		if m.Input < 0 {
			return nil
		}
		return fillCache(ctx, dir, in[m.Input].Tree, m.Selector)
	})
	if err != nil {
		return "", nil, fmt.Errorf("cache mount %s: %w", m.Dest, err)
	}
	return dir, undo, nil
}

// fillCache gives a new cache directory the owner, mode and content of the tree's directory that
// it starts from.
func fillCache(ctx context.Context, dir string, t *tree.Tree, selector string) error {
	v, err := t.View(ctx)
	if err != nil {
		return err
	}
	start, err := v.Lookup(selector)
	if err != nil {
		return err
	}
	return extract.Dir(ctx, start, dir)
}
