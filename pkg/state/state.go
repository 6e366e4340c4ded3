// Package state keeps Slipway's own files: the state directory of DESIGN section 7.
//
// Everything in it can be deleted at any time between builds, and several builds may use
// it at once. [Dir.Prune] may run beside them. Named objects come into being by a rename, so that a reader never sees a
// half-written one, and each is made once, however many goroutines and processes ask for
// it at the same time.
package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is an open state directory:
//
//	KIND/NAME     objects: files ("blobs", "tars", "indexes", …) and directories ("unpacked")
//	locks/        advisory locks (flock), one file per object that is being made
//	used/         when objects were used last
//	builds/ID/    temporary files of one build, locked while it runs
type Dir struct {
	path  string
	build string
	lock  *os.File
}

// Open opens the state directory at path, making it if needed, and sets up a temporary area for
// this build. Areas that dead builds left behind are removed.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	for _, sub := range []string{"locks", "builds"} {
		if err := os.MkdirAll(filepath.Join(path, sub), 0o700); err != nil {
			return nil, fmt.Errorf("making the state directory: %w", err)
		}
	}
	d := &Dir{path: path}
	if err := d.removeDeadBuilds(); err != nil {
		return nil, err
	}
	if err := d.claimBuild(); err != nil {
		return nil, err
	}
	return d, nil
}

// Path is the absolute path of the state directory.
func (d *Dir) Path() string { return d.path }

// Close removes what belongs to this build alone.
func (d *Dir) Close() error {
	err := RemoveTree(d.build)
	// Once the lock is free, whoever tidies up may remove its file.
	return errors.Join(err, os.Remove(d.lock.Name()), d.lock.Close())
}

// TempDir makes an empty directory that lives until Close. The pattern is as in os.MkdirTemp.
func (d *Dir) TempDir(pattern string) (string, error) {
	dir, err := os.MkdirTemp(d.build, pattern)
	if err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return dir, nil
}

// TempFile makes an empty file that lives until Close, unless it is handed to Publish. The
// caller closes it.
func (d *Dir) TempFile() (*os.File, error) {
	f, err := os.CreateTemp(d.build, "tmp-")
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	return f, nil
}

// Publish turns a file from TempFile into the object kind/name. An object of that name that exists
// already stays, and the file is removed: objects are named by their content. The
// file stays open either way.
func (d *Dir) Publish(kind, name string, f *os.File) error {
	p, err := d.objectPath(kind, name)
	if err != nil {
		return err
	}
	// Not while an unused object of that name is being removed, which this one would be taken for.
	unlock, err := d.await(context.Background(), useLock, unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Rename(f.Name(), p); err != nil {
		return fmt.Errorf("state directory: keeping %s/%s: %w", kind, name, err)
	}
	return nil
}

// Lookup opens the object kind/name; the error matches fs.ErrNotExist if there is none.
func (d *Dir) Lookup(kind, name string) (*os.File, error) {
	p, err := d.objectPath(kind, name)
	if err != nil {
		return nil, err
	}
	if _, err := d.used(context.Background(), kind, name); err != nil { // nobody has the lock for long
		return nil, err
	}
	return os.Open(p)
}

// Remove deletes the object kind/name, if it exists; for objects found to be damaged.
func (d *Dir) Remove(kind, name string) error {
	p, err := d.objectPath(kind, name)
	if err != nil {
		return err
	}
	return RemoveTree(p)
}

// File opens the file kind/name for reading. If there is none, makeFile writes it, to a
// temporary file at offset 0; of several callers one makes it and the others wait. When
// makeFile fails, nothing is kept and the next caller tries again.
func (d *Dir) File(ctx context.Context, kind, name string, makeFile func(context.Context, *os.File) error) (*os.File, error) {
	p, err := d.make(ctx, kind, name, func(tmp string) error {
		f, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		return errors.Join(makeFile(ctx, f), f.Close())
	})
	if err != nil {
		return nil, err
	}
	return os.Open(p)
}

// Tree returns the path of the directory kind/name. If there is none, makeTree fills an
// empty one, by the rules of File.
func (d *Dir) Tree(ctx context.Context, kind, name string, makeTree func(ctx context.Context, dir string) error) (string, error) {
	return d.make(ctx, kind, name, func(tmp string) error {
		if err := os.Mkdir(tmp, 0o755); err != nil {
			return err
		}
		return makeTree(ctx, tmp)
	})
}

// make returns the path of the object kind/name after build has made it at the path it is
// given, unless it is there.
func (d *Dir) make(ctx context.Context, kind, name string, build func(tmp string) error) (string, error) {
	p, err := d.objectPath(kind, name)
	if err != nil {
		return "", err
	}
	if there, err := d.used(ctx, kind, name); there || err != nil {
		return p, err
	}
	unlock, err := d.Lock(ctx, kind+"-"+name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if there, err := d.used(ctx, kind, name); there || err != nil {
		return p, err
	}
	// The temporary object lies in this build's area, which is on the same
	// filesystem and goes away with the build if we are killed.
	holder, err := d.TempDir("make-")
	if err != nil {
		return "", err
	}
	tmp := filepath.Join(holder, "object")
	if err := build(tmp); err != nil {
		return "", errors.Join(err, RemoveTree(holder))
	}
	if err := os.Rename(tmp, p); err != nil {
		return "", errors.Join(fmt.Errorf("state directory: keeping %s/%s: %w", kind, name, err), RemoveTree(holder))
	}
	return p, os.Remove(holder)
}

// Lock takes the lock of the given name, exclusively among goroutines and processes. It waits until
// it is free or ctx ends. The returned function releases it.
func (d *Dir) Lock(ctx context.Context, name string) (unlock func(), err error) {
	return d.await(ctx, name, unix.LOCK_EX)
}

// await takes a lock of the given kind, LOCK_EX or LOCK_SH.
func (d *Dir) await(ctx context.Context, name string, kind int) (unlock func(), err error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		unlock, err := d.tryLock(name, kind)
		if unlock != nil || err != nil {
			return unlock, err
		}
		// flock(2) waits in the kernel, deaf to ctx; asking again and again is
		// what keeps cancellation simple.
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// TryLock is Lock without waiting: unlock is nil if somebody else has the lock.
func (d *Dir) TryLock(name string) (unlock func(), err error) {
	return d.tryLock(name, unix.LOCK_EX)
}

// TryLockShared is TryLock for a lock that several may have at the same time, while nobody has
// it by Lock or TryLock.
func (d *Dir) TryLockShared(name string) (unlock func(), err error) {
	return d.tryLock(name, unix.LOCK_SH)
}

// tryLock is await without waiting.
func (d *Dir) tryLock(name string, kind int) (unlock func(), err error) {
	name = strings.NewReplacer("/", "%2f", "%", "%25").Replace(name)
	f, err := os.OpenFile(filepath.Join(d.path, "locks", name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: lock %s: %w", name, err)
	}
	// flock(2) locks belong to the open file, so that goroutines exclude each other
	// as processes do.
	err = unix.Flock(int(f.Fd()), kind|unix.LOCK_NB)
	switch {
	case err == nil:
		return func() { _ = f.Close() }, nil
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EINTR):
		return nil, f.Close()
	}
	return nil, errors.Join(fmt.Errorf("state directory: lock %s: %w", name, err), f.Close())
}

func (d *Dir) objectPath(kind, name string) (string, error) {
	if !validName(kind) || !validName(name) {
		return "", fmt.Errorf("state directory: bad object name %q/%q", kind, name)
	}
	dir := filepath.Join(d.path, kind)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("state directory: %w", err)
	}
	return filepath.Join(dir, name), nil
}

func validName(s string) bool {
	return s != "" && s[0] != '.' && !strings.ContainsAny(s, "/\x00")
}

func exists(p string) bool {
	_, err := os.Lstat(p)
	return err == nil
}

// claimBuild makes this build's temporary area. Its lock is held as long as the process
// lives, which is how others know that it is not left over. Another process that tidies
// up at the same moment may take a new area for a dead one: then there is another.
func (d *Dir) claimBuild() error {
	for range 100 {
		build, err := os.MkdirTemp(filepath.Join(d.path, "builds"), "b-")
		if err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		lock, err := os.OpenFile(build+".lock", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
		if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && exists(build) && exists(lock.Name()) {
			d.build, d.lock = build, lock
			return nil
		}
		if err := lock.Close(); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	return errors.New("state directory: no temporary area can be locked: does its filesystem support flock(2)?")
}

// removeDeadBuilds removes areas whose lock nobody holds. Areas without a lock file yet
// belong to a build that is just starting, unless they are old.
func (d *Dir) removeDeadBuilds() error {
	entries, err := os.ReadDir(filepath.Join(d.path, "builds"))
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		area := filepath.Join(d.path, "builds", e.Name())
		if err := removeIfDead(area, e); err != nil {
			return fmt.Errorf("state directory: removing what a dead build left: %w", err)
		}
	}
	return nil
}

func removeIfDead(area string, e fs.DirEntry) error {
	lock, err := os.OpenFile(area+".lock", os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		info, err := e.Info()
		if err != nil || time.Since(info.ModTime()) < time.Hour {
			return nil // just starting, or gone meanwhile
		}
		return RemoveTree(area)
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // alive
	}
	if err := RemoveTree(area); err != nil {
		return err
	}
	if err := os.Remove(lock.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
