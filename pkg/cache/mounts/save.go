package mounts

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/isolation/hostdir"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
)

// A cache is written anew, in one layer, when it has maxLayers, or when its layers are more than
// maxWaste times as large as its files: both bound what restoring costs.
const (
	maxLayers = 8
	maxWaste  = 2
)

// Pending reports whether there is something to save.
func (m *Mounts) Pending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range m.used {
		if u.dir != "" && m.Modes.of(u.id).saves() && len(m.To) > 0 {
			return true
		}
	}
	return false
}

// Save keeps the directories that this build has used. When several builds save one cache, the last
// one's is kept.
func (m *Mounts) Save(ctx context.Context) {
	m.mu.Lock()
	all := maps.Clone(m.used)
	m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		u := all[name]
		if u.dir == "" || !m.Modes.of(u.id).saves() {
			continue
		}
		for _, s := range m.To {
			if err := m.save(ctx, s, name, u); err != nil {
				m.Warn(fmt.Sprintf("cache mount %s is not saved to %s: %v", u.id, s, err))
			}
		}
	}
}

func (m *Mounts) save(ctx context.Context, s cache.Store, name string, u *used) error {
	unlock, err := m.State.TryLock(op.CacheMountLock(name))
	if err != nil {
		return err
	}
	if unlock == nil {
		return fmt.Errorf("another build is using it")
	}
	defer unlock()
	files, err := list(u.dir)
	if err != nil {
		return err
	}
	if size := sizeOf(files); m.MaxSize > 0 && size > m.MaxSize {
		m.Warn(fmt.Sprintf("cache mount %s has %d bytes, more than %d: it starts over", u.id, size, m.MaxSize))
		return m.put(ctx, s, name, u, nil, files[:1])
	}
	if slices.Contains(u.damaged, s) {
		return m.put(ctx, s, name, u, nil, files)
	}
	before := u.earlier
	if before == nil || before.store != s {
		// What cannot be read is written anew.
		if before, err = m.load(ctx, s, op.CacheMount{Name: name, ID: u.id}); before == nil || err != nil {
			return m.put(ctx, s, name, u, nil, files)
		}
	}
	view, err := before.tree.View(ctx)
	if err != nil {
		cache.Distrust(s, before.record)
		return m.put(ctx, s, name, u, nil, files)
	}
	changed := delta(files, view)
	if len(changed) == 0 {
		return nil
	}
	if kept := before.record.Outputs; len(kept) < maxLayers && sizeOfLayers(kept)+sizeOf(changed) <= maxWaste*sizeOf(files) {
		return m.put(ctx, s, name, u, kept, changed)
	}
	return m.put(ctx, s, name, u, nil, files)
}

// list lists everything in a directory, itself included.
func list(dir string) ([]layer.DirFile, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return hostdir.List(root)
}

func sizeOf(files []layer.DirFile) (size int64) {
	for _, f := range files {
		size += f.Size
	}
	return size
}

// sizeOfLayers is that of compressed layers, which is less than that of their files.
func sizeOfLayers(outputs []cache.Output) (size int64) {
	for _, o := range outputs {
		size += o.Layer.Size
	}
	return size
}

// put keeps files as a layer on top of kept.
func (m *Mounts) put(ctx context.Context, s cache.Store, name string, u *used, kept []cache.Output, files []layer.DirFile) error {
	root, err := os.OpenRoot(u.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	l, err := layer.FromDir(root, files)
	if err != nil {
		return err
	}
	// Fast rather than small: it is for one build to save and the next one to restore.
	form := layer.Form{Compression: compression.Options{Algorithm: compression.Zstd, Level: 1}}
	blob, err := layer.Write(ctx, l, m.State, form.Compression)
	if err != nil {
		return err
	}
	out, err := cache.PutLayer(ctx, s, l, blob, form)
	if err != nil {
		return err
	}
	r := &cache.Record{Created: m.Now, Step: "cache mount " + u.id, Outputs: append(slices.Clone(kept), *out)}
	if r.Key, err = keyOf(name); err != nil {
		return err
	}
	if err := cache.PutRecord(ctx, s, manifestName(name), r); err != nil {
		return err
	}
	return layer.Forget(m.State, out.Layer.Digest, out.DiffID)
}
