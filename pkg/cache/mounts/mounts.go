// Package mounts keeps the directories of cache mounts (RUN --mount=type=cache) between builds, in the
// stores of the result cache. A directory is kept as layers, each holding what changed since the ones
// below: only that travels.
package mounts

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/isolation/hostdir"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Options say what is kept, and where.
type Options struct {
	From, To []cache.Store
	// Modes decides for each cache what is done.
	Modes Modes
	// MaxSize is how many bytes of files a cache may have; one that has more starts over. 0 for
	// any size.
	MaxSize int64
	State   *state.Dir
	// Now is the time of the build.
	Now time.Time
	// Warn tells of what does not work. That never fails a build.
	Warn func(message string)
}

// Mounts is what one build keeps. It implements op.CacheMounts and is safe for concurrent use.
type Mounts struct {
	Options
	mu   sync.Mutex
	used map[string]*used // by name
}

// used is a directory that a RUN of this build has had.
type used struct {
	id, dir string
	earlier *earlier      // nil if nothing was restored
	damaged []cache.Store // those that have what cannot be restored
}

// earlier is what a store had.
type earlier struct {
	store  cache.Store
	record *cache.Record
	tree   *tree.Tree
}

// New keeps cache mounts as o says.
func New(o Options) *Mounts { return &Mounts{Options: o, used: map[string]*used{}} }

var _ op.CacheMounts = (*Mounts)(nil)

// Restore implements op.CacheMounts. Whatever goes wrong, the cache is just empty.
func (m *Mounts) Restore(ctx context.Context, c op.CacheMount, dir string) (bool, error) {
	if !m.Modes.of(c.ID).restores() {
		return false, nil
	}
	for _, s := range m.From {
		e, err := m.load(ctx, s, c)
		if err == nil && e != nil {
			if err = e.extract(ctx, dir); err != nil && ctx.Err() == nil {
				m.distrust(c, e)
			}
		}
		if err == nil && e == nil {
			continue
		}
		if err == nil {
			m.note(c, "", e)
			return true, e.forget(m.State)
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		m.Warn(fmt.Sprintf("cache mount %s is not restored from %s: %v", c.ID, s, err))
		if err := empty(dir); err != nil {
			return false, err
		}
	}
	return false, nil
}

// Used implements op.CacheMounts.
func (m *Mounts) Used(c op.CacheMount, dir string) { m.note(c, dir, nil) }

// distrust has a cache be written anew where it cannot be restored from.
func (m *Mounts) distrust(c op.CacheMount, e *earlier) {
	cache.Distrust(e.store, e.record)
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.of(c)
	u.damaged = append(u.damaged, e.store)
}

// of is what is known of a cache. The caller holds m.mu.
func (m *Mounts) of(c op.CacheMount) *used {
	u := m.used[c.Name]
	if u == nil {
		u = &used{id: c.ID}
		m.used[c.Name] = u
	}
	return u
}

func (m *Mounts) note(c op.CacheMount, dir string, e *earlier) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.of(c)
	if dir != "" {
		u.dir = dir
	}
	if e != nil {
		u.earlier = e
	}
}

// manifestName is what a cache is called in stores.
func manifestName(name string) string { return "mount-" + name }

// load opens what a store has of a cache; nil if it has nothing.
func (m *Mounts) load(ctx context.Context, s cache.Store, c op.CacheMount) (*earlier, error) {
	raw, err := s.Manifest(ctx, manifestName(c.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := cache.Unmarshal(raw)
	if err != nil {
		return nil, err
	}
	if key, err := keyOf(c.Name); err != nil || r.Key != key {
		return nil, errors.Join(err, errors.New("it is another cache's"))
	}
	layers, err := cache.Layers(s, r, m.State)
	if err != nil {
		return nil, err
	}
	return &earlier{s, r, tree.New(layers...)}, nil
}

func keyOf(name string) (k op.Key, err error) {
	data, err := hex.DecodeString(name)
	if err == nil && len(data) != len(k) {
		err = fmt.Errorf("the name of a cache has %d bytes", len(data))
	}
	copy(k[:], data)
	return k, err
}

func (e *earlier) extract(ctx context.Context, dir string) error {
	v, err := e.tree.View(ctx)
	if err != nil {
		return err
	}
	root, err := v.Lookup("")
	if err != nil {
		return err
	}
	return hostdir.Fill(ctx, root, dir)
}

// forget removes what was fetched for extracting: the files are in the cache's own directory now.
func (e *earlier) forget(st *state.Dir) error {
	var errs []error
	for _, o := range e.record.Outputs {
		errs = append(errs, layer.Forget(st, o.Layer.Digest, o.DiffID))
	}
	return errors.Join(errs...)
}

// empty removes everything in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// Mode says what is done with the directory of a cache mount.
type Mode string

// The modes.
const (
	Off         Mode = "off"
	RestoreOnly Mode = "restore"
	SaveOnly    Mode = "save"
	Both        Mode = "both"
)

func (m Mode) restores() bool { return m == RestoreOnly || m == Both }
func (m Mode) saves() bool    { return m == SaveOnly || m == Both }

// Modes are the modes by the ids of caches; that of "" is for all others.
type Modes map[string]Mode

// ParseModes reads "MODE" and "ID=MODE".
func ParseModes(specs []string) (Modes, error) {
	modes := Modes{"": Off}
	for _, s := range specs {
		id, mode := "", s
		if i := strings.LastIndexByte(s, '='); i >= 0 {
			id, mode = s[:i], s[i+1:]
		}
		if !slices.Contains([]Mode{Off, RestoreOnly, SaveOnly, Both}, Mode(mode)) {
			return nil, fmt.Errorf("mode %q of cache mounts is not one of off, restore, save, both", mode)
		}
		modes[id] = Mode(mode)
	}
	return modes, nil
}

// Any reports whether any cache is restored or saved.
func (m Modes) Any() bool {
	for _, mode := range m {
		if mode != Off {
			return true
		}
	}
	return false
}

func (m Modes) of(id string) Mode {
	if mode, ok := m[id]; ok {
		return mode
	}
	return m[""]
}
