package op

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/extract"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// The directories of caches are objects of this kind in the state directory; before their names, those of their
// locks have this.
const (
	cacheKind = "cachemounts"
	cacheLock = "cachemount-"
)

// cacheDirName names one of the directories of a cache.
func cacheDirName(name string, number int) string {
	if number == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, number)
}

// cache is a cache that one RUN mounts, at one place or several.
type cache struct {
	mounts  []int // by index into Exec.Mounts
	sharing CacheSharing
}

// holdCaches gives the directories of the cache mounts, by index into e.Mounts, held as their
// sharing modes ask until release.
//
// Each directory has a lock that goroutines and processes respect: mode shared takes it
// together with others, private and locked take it alone. Whoever cannot have it gets the
// next directory of the same cache, except that locked waits for the first one.
func (e *Exec) holdCaches(ctx context.Context, env *Env, in []Input) (_ map[int]string, release func(), err error) {
	caches, err := e.caches(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	var unlocks []func()
	unlockAll := func() {
		for _, unlock := range slices.Backward(unlocks) {
			unlock()
		}
	}
	defer func() {
		if err != nil {
			unlockAll()
		}
	}()
	dirs := map[int]string{}
	// All RUNs wait in the same order, so that no two wait for each other.
	for _, name := range slices.Sorted(maps.Keys(caches)) {
		c := caches[name]
		m := &e.Mounts[c.mounts[0]]
		fresh := e.FreshCaches || env.Hermetic
		if fresh && env.Fresh != nil {
			if err := env.Fresh.empty(env, name, m.Dest); err != nil {
				return nil, nil, fmt.Errorf("cache mount %s: %w", m.Dest, err)
			}
		}
		held, unlock, err := hold(ctx, env, name, m.Dest, c.sharing)
		if err != nil {
			return nil, nil, fmt.Errorf("cache mount %s: %w", m.Dest, err)
		}
		unlocks = append(unlocks, unlock)
		dir, err := m.cacheDir(ctx, env, name, held, in, !fresh)
		if err != nil {
			return nil, nil, fmt.Errorf("cache mount %s: %w", m.Dest, err)
		}
		if env.CacheMounts != nil && held == name { // others are for the time being
			env.CacheMounts.Used(m.cacheMount(name), dir)
		}
		for _, i := range c.mounts {
			dirs[i] = dir
		}
	}
	return dirs, unlockAll, nil
}

// caches are the caches of the mounts by their names. One that is mounted twice is shared by the
// strictest of the modes: the process cannot wait for itself.
func (e *Exec) caches(ctx context.Context, in []Input) (map[string]*cache, error) {
	all := map[string]*cache{}
	for i := range e.Mounts {
		m := &e.Mounts[i]
		if m.Type != isolation.MountCache {
			continue
		}
		name, err := m.cacheName(ctx, in)
		if err != nil {
			return nil, err
		}
		if all[name] == nil {
			all[name] = &cache{}
		}
		c := all[name]
		c.mounts = append(c.mounts, i)
		c.sharing = max(c.sharing, m.Sharing)
	}
	return all, nil
}

// cacheName names the cache in the state directory. One that starts from other content is
// another cache.
func (m *ExecMount) cacheName(ctx context.Context, in []Input) (string, error) {
	id := sha256.Sum256([]byte(m.CacheID))
	if m.Input >= len(in) {
		return "", fmt.Errorf("mount %s: there is no input %d", m.Dest, m.Input)
	}
	if m.Input >= 0 {
		k, err := in[m.Input].Key(ctx)
		if err != nil {
			return "", err
		}
		id = sha256.Sum256(append(append(id[:], k[:]...), m.Selector...))
	}
	return hex.EncodeToString(id[:]), nil
}

// CacheMount is the cache of RUN --mount=type=cache.
type CacheMount struct {
	// Name is a SHA-256 in hexadecimal; caches of equal name are one.
	Name string
	// ID is what the Dockerfile calls it.
	ID string
}

// CacheMounts knows caches beyond those in the state directory. It is safe for concurrent use.
type CacheMounts interface {
	// Restore gives the new, empty directory of a cache its earlier content; false if nothing
	// is known of it, and then the directory is empty still.
	Restore(ctx context.Context, c CacheMount, dir string) (bool, error)
	// Used says that a RUN has the directory of a cache now. What it leaves there is worth
	// keeping once nobody has its lock, see [CacheMountLock].
	Used(c CacheMount, dir string)
}

// CacheMountLock is the lock, in the state directory, of the cache of that name.
func CacheMountLock(name string) string { return cacheLock + name }

func (m *ExecMount) cacheMount(name string) CacheMount {
	_, id, _ := strings.Cut(m.CacheID, "/") // before it is BUILDKIT_CACHE_MOUNT_NS
	return CacheMount{Name: name, ID: id}
}

// hold locks one of the directories of a cache and gives its name.
func hold(ctx context.Context, env *Env, name, dest string, sharing CacheSharing) (dir string, unlock func(), err error) {
	try := env.State.TryLock
	if sharing == CacheShared {
		try = env.State.TryLockShared
	}
	for i := 0; ; i++ {
		dir = cacheDirName(name, i)
		unlock, err := try(CacheMountLock(dir))
		if unlock != nil || err != nil {
			return dir, unlock, err
		}
		if sharing != CacheLocked {
			continue
		}
		if env.Stderr != nil {
			if _, err := fmt.Fprintf(env.Stderr, "waiting for cache mount %s: another RUN has it\n", dest); err != nil {
				return "", nil, err
			}
		}
		if unlock, err = env.State.Lock(ctx, CacheMountLock(dir)); err != nil {
			return "", nil, fmt.Errorf("waiting for it: %w", err)
		}
		return dir, unlock, nil
	}
}

// cacheDir gives the directory held of a cache; if it is new, with its first content, or with what it had in an
// earlier build, if that is to be restored.
func (m *ExecMount) cacheDir(ctx context.Context, env *Env, name, held string, in []Input, restore bool) (string, error) {
	return env.State.Tree(ctx, cacheKind, held, func(ctx context.Context, dir string) error {
		if env.CacheMounts != nil && restore {
			if restored, err := env.CacheMounts.Restore(ctx, m.cacheMount(name), dir); restored || err != nil {
				return err
			}
		}
		if m.Input < 0 {
			return os.Chmod(dir, 0o755) // whatever the umask
		}
		return fillCache(ctx, env.Isolation, dir, in[m.Input].Tree, m.Selector)
	})
}

// fillCache gives a new cache directory the owner, mode and content of the tree's directory that
// it starts from.
func fillCache(ctx context.Context, b isolation.Backend, dir string, t *tree.Tree, selector string) error {
	v, err := t.View(ctx)
	if err != nil {
		return err
	}
	start, err := v.Lookup(selector)
	if err != nil {
		return err
	}
	if start.Entry().Type != layer.Directory {
		return errors.New("its first content is not a directory")
	}
	return FillCache(ctx, b, start, dir)
}

// FillCache gives dir, the empty directory of a cache mount, the content and metadata of the directory n, in the way of
// the backend if it has one of its own.
func FillCache(ctx context.Context, b isolation.Backend, n *tree.Node, dir string) error {
	if f, ok := b.(isolation.CacheFiller); ok {
		return f.FillCache(ctx, n, dir)
	}
	return extract.Dir(ctx, n, dir)
}
