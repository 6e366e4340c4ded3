package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// useLock is held while an object is looked up or removed: shared by whoever takes an object into use, which sets
// its time of use, and exclusively by whoever removes one that has not been used.
const useLock = "use"

// Object is something that the state directory keeps.
type Object struct {
	Kind, Name string
	Size       int64     // in bytes, of all files in it
	Used       time.Time // when a build made it or asked for it last
}

// PruneOptions say which objects are to go.
type PruneOptions struct {
	// Kinds are the kinds of objects that are looked at.
	Kinds []string
	// MaxAge is how long ago an object may have been used last; 0 stands for any time.
	MaxAge time.Duration
	// MaxSize is how large the objects may be together, in bytes; the longest unused go until they are no larger.
	// 0 stands for any size.
	MaxSize int64
	// DryRun only says what would go.
	DryRun bool
}

// Prune removes objects and returns them, the longest unused first, and how large those are that stay. Builds
// may run meanwhile: what has been used since the oldest of them began stays.
func (d *Dir) Prune(ctx context.Context, o PruneOptions) (removed []Object, kept int64, err error) {
	now := time.Now()
	limit, err := d.oldestBuild(now)
	if err != nil {
		return nil, 0, err
	}
	objects, err := d.objects(ctx, o.Kinds)
	if err != nil {
		return nil, 0, err
	}
	for _, x := range objects {
		kept += x.Size
	}
	for _, x := range objects {
		old := o.MaxAge > 0 && x.Used.Before(now.Add(-o.MaxAge))
		if !(old || o.MaxSize > 0 && kept > o.MaxSize) || !x.Used.Before(limit) {
			continue
		}
		gone := o.DryRun
		if !gone {
			if gone, err = d.removeUnused(ctx, x, limit); err != nil {
				return removed, kept, err
			}
		}
		if gone {
			removed, kept = append(removed, x), kept-x.Size
		}
	}
	return removed, kept, nil
}

// oldestBuild is when the oldest of the builds began that run; now if there is none.
func (d *Dir) oldestBuild(now time.Time) (time.Time, error) {
	if err := d.removeDeadBuilds(); err != nil {
		return now, err
	}
	entries, err := os.ReadDir(filepath.Join(d.path, "builds"))
	if err != nil {
		return now, fmt.Errorf("state directory: %w", err)
	}
	oldest := now
	for _, e := range entries {
		// The lock file is written when the build begins, and not again.
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // ended meanwhile
		}
		if err != nil {
			return now, fmt.Errorf("state directory: %w", err)
		}
		if strings.HasSuffix(e.Name(), ".lock") && info.ModTime().Before(oldest) {
			oldest = info.ModTime()
		}
	}
	return oldest, nil
}

// objects lists the objects of some kinds, the longest unused first.
func (d *Dir) objects(ctx context.Context, kinds []string) ([]Object, error) {
	var all []Object
	for _, kind := range kinds {
		entries, err := os.ReadDir(filepath.Join(d.path, kind))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("state directory: %w", err)
		}
		for _, e := range entries {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			x := Object{Kind: kind, Name: e.Name()}
			p := filepath.Join(d.path, kind, e.Name())
			if x.Used, err = d.usedAt(kind, x.Name); err == nil {
				x.Size, err = sizeOf(p)
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue // another one removed it meanwhile
			}
			if err != nil {
				return nil, fmt.Errorf("state directory: %w", err)
			}
			all = append(all, x)
		}
	}
	slices.SortStableFunc(all, func(a, b Object) int { return a.Used.Compare(b.Used) })
	return all, nil
}

// sizeOf is the size of all files in p.
func sizeOf(p string) (size int64, err error) {
	err = filepath.WalkDir(p, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// usedAt is when the object kind/name was asked for last, or if nobody has, when it came into its place. The
// error matches fs.ErrNotExist if there is none.
func (d *Dir) usedAt(kind, name string) (time.Time, error) {
	p := filepath.Join(d.path, kind, name)
	var st unix.Stat_t
	if err := unix.Lstat(p, &st); err != nil {
		return time.Time{}, &fs.PathError{Op: "lstat", Path: p, Err: err}
	}
	at := time.Unix(st.Ctim.Unix())
	info, err := os.Stat(d.marker(kind, name))
	if errors.Is(err, fs.ErrNotExist) {
		return at, nil
	}
	if err == nil && info.ModTime().After(at) {
		at = info.ModTime()
	}
	return at, err
}

// marker is an empty file whose time of modification is when the object kind/name was used last. The object's own times
// belong to who reads it, and their owner may be another user.
func (d *Dir) marker(kind, name string) string { return filepath.Join(d.path, "used", kind, name) }

// used takes the object kind/name into use: Prune will spare it as long as this build runs. It reports whether
// there is one.
func (d *Dir) used(ctx context.Context, kind, name string) (bool, error) {
	unlock, err := d.await(ctx, useLock, unix.LOCK_SH)
	if err != nil {
		return false, err
	}
	defer unlock()
	if !exists(filepath.Join(d.path, kind, name)) {
		return false, nil
	}
	now, marker := time.Now(), d.marker(kind, name)
	err = os.Chtimes(marker, now, now)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(marker), 0o700); err == nil {
			err = os.WriteFile(marker, nil, 0o600)
		}
	}
	if err != nil {
		return false, fmt.Errorf("state directory: %w", err)
	}
	return true, nil
}

// removeUnused removes the object unless it has been used since limit.
func (d *Dir) removeUnused(ctx context.Context, x Object, limit time.Time) (gone bool, err error) {
	holder, err := d.TempDir("prune-")
	if err != nil {
		return false, err
	}
	gone, err = d.takeAway(ctx, x, filepath.Join(holder, "object"), limit)
	return gone, errors.Join(err, RemoveTree(holder))
}

// takeAway moves the object out of the others' reach, unless it has been used since limit.
func (d *Dir) takeAway(ctx context.Context, x Object, to string, limit time.Time) (gone bool, err error) {
	unlock, err := d.await(ctx, useLock, unix.LOCK_EX)
	if err != nil {
		return false, err
	}
	defer unlock()
	at, err := d.usedAt(x.Kind, x.Name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !at.Before(limit) {
		return false, nil
	}
	if err == nil {
		err = os.Rename(filepath.Join(d.path, x.Kind, x.Name), to)
	}
	if err != nil {
		return false, fmt.Errorf("state directory: removing %s/%s: %w", x.Kind, x.Name, err)
	}
	if err := os.Remove(d.marker(x.Kind, x.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return true, fmt.Errorf("state directory: %w", err)
	}
	return true, nil
}
