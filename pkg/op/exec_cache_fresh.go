package op

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// FreshCaches remembers which caches one build has emptied, because a RUN that has them is not to take
// anything from before (--no-cache). As with BuildKit, the next RUN of the same build finds what the first one left.
type FreshCaches struct {
	mu      sync.Mutex
	emptied map[string]bool
}

// empty removes the directories of a cache, unless this build has done so. Those that another build has at the
// moment stay, and the user is told.
func (f *FreshCaches) empty(env *Env, name, dest string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.emptied[name] {
		return nil
	}
	if f.emptied == nil {
		f.emptied = map[string]bool{}
	}
	f.emptied[name] = true
	for i := 0; ; i++ {
		dir := cacheDirName(name, i)
		opened, err := env.State.Lookup(cacheKind, dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := errors.Join(opened.Close(), emptyOne(env, dir, dest)); err != nil {
			return err
		}
	}
}

func emptyOne(env *Env, dir, dest string) error {
	unlock, err := env.State.TryLock(CacheMountLock(dir))
	if err != nil {
		return err
	}
	if unlock == nil {
		if env.Stderr != nil {
			_, err = fmt.Fprintf(env.Stderr, "cache mount %s is not emptied: another RUN has it\n", dest)
		}
		return err
	}
	defer unlock()
	if err := env.State.Remove(cacheKind, dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
