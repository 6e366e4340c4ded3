package initproc

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
)

// mountRoot mounts the root filesystem, and beside it a filesystem in memory that holds the
// files to be provided, so that secrets reach no disk.
func (s *session) mountRoot() error {
	unix.Umask(0)
	root, err := s.mountOverlay(&s.spec.Root)
	if err != nil {
		return err
	}
	s.stubs.Root = root
	memory, err := newMount("tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC, option{"mode", "0700"})
	if err != nil {
		return err
	}
	scratch, err := openDir(unix.AT_FDCWD, s.spec.Scratch)
	if err != nil {
		return err
	}
	defer unix.Close(scratch)
	s.memory = memory
	return attach(memory, scratch)
}

// makeCwd makes the working directory in the root itself, before anything is mounted in it: a
// missing one becomes part of the layer.
func (s *session) makeCwd() error {
	fd, err := s.cwd()
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// enterCwd goes to the working directory, which a mount may have hidden.
func (s *session) enterCwd() error {
	path, err := s.cwd()
	if err != nil {
		return err
	}
	defer unix.Close(path)
	return unix.Fchdir(path)
}

func (s *session) cwd() (int, error) {
	return rootpath.Ensure(s.stubs.Root, s.spec.Cwd, true, func(parent int, name string, dir bool) error {
		if err := unix.Mkdirat(parent, name, 0o755); err != nil {
			return err
		}
		return unix.Fchownat(parent, name, int(s.spec.Command.UID), int(s.spec.Command.GID), unix.AT_SYMLINK_NOFOLLOW)
	})
}

// mountFiles puts the provided files over the root's own, read-only.
func (s *session) mountFiles() error {
	for i := range s.spec.Files {
		if err := s.mountFile(&s.spec.Files[i]); err != nil {
			return fmt.Errorf("%s: %w", s.spec.Files[i].Path, err)
		}
	}
	return nil
}

// mountFile puts a file in memory over f.Path.
func (s *session) mountFile(f *File) error {
	name := strconv.Itoa(s.files)
	s.files++
	if err := rootpath.MakeFile(s.memory, name, f.Data, 0o600); err != nil {
		return err
	}
	if err := unix.Fchownat(s.memory, name, int(f.UID), int(f.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if err := unix.Fchmodat(s.memory, name, f.Mode, 0); err != nil {
		return err
	}
	m, err := s.showFile(s.memory, name)
	if err != nil {
		return err
	}
	defer unix.Close(m)
	if err := s.attachAt(m, f.Path); err != nil {
		return err
	}
	at, err := s.makeReadOnly(m, f.Path) // the filesystem in memory has the other restrictions
	if err == nil && at != m {
		err = unix.Close(at)
	}
	return err
}

// mountAll mounts what the RUN asked for. Mounts become read-only only when all of them are in
// place, because one may need a mount point inside another.
func (s *session) mountAll() error {
	for i := range s.spec.Mounts {
		m := &s.spec.Mounts[i]
		if m.Secret != nil {
			if err := s.mountFile(m.Secret); err != nil {
				return fmt.Errorf("%s: %w", m.Target, err)
			}
			continue
		}
		fd, err := s.source(m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Target, err)
		}
		if err := s.attachAt(fd, m.Target); err != nil {
			return err
		}
		if m.ReadOnly {
			s.frozen = append(s.frozen, frozen{fd, m.Target})
		} else {
			unix.Close(fd)
		}
	}
	for i := range s.frozen {
		f := &s.frozen[i]
		var err error
		if f.mount, err = s.makeReadOnly(f.mount, f.target); err != nil {
			return fmt.Errorf("%s: %w", f.target, err)
		}
	}
	return nil
}

// source makes the detached mount that m shows.
func (s *session) source(m *Mount) (int, error) {
	switch {
	case m.Overlay != nil:
		root, err := s.overlay(m.Overlay)
		if err != nil {
			return -1, err
		}
		defer unix.Close(root)
		return s.selectMount(root, m.Selector)
	case m.Dir != "":
		root, err := openDir(unix.AT_FDCWD, m.Dir)
		if err != nil {
			return -1, err
		}
		defer unix.Close(root)
		dir, err := s.selectMount(root, m.Selector)
		if err != nil || !s.spec.NoDevices {
			return dir, err
		}
		return dir, restrict(dir, unix.MOUNT_ATTR_NODEV, false)
	case m.Socket != "":
		return s.showFile(unix.AT_FDCWD, m.Socket)
	case m.Tmpfs != nil:
		var options []option
		if m.Tmpfs.Size > 0 {
			options = append(options, option{"size", strconv.FormatInt(m.Tmpfs.Size, 10)})
		}
		return newMount("tmpfs", s.noDevices(unix.MOUNT_ATTR_NOSUID), options...)
	}
	return -1, errors.New("mount without a source")
}

// overlay opens the root of an overlay mount, which it makes if there is none yet at its mount point.
func (s *session) overlay(o *Overlay) (root int, err error) {
	if slices.Contains(s.overlays, o.Mountpoint) {
		return openDir(unix.AT_FDCWD, o.Mountpoint)
	}
	s.overlays = append(s.overlays, o.Mountpoint)
	return s.mountOverlay(o)
}

// noDevices adds to the attributes of a new mount the one that the spec asks for.
func (s *session) noDevices(attrs int) int {
	if s.spec.NoDevices {
		attrs |= unix.MOUNT_ATTR_NODEV
	}
	return attrs
}

// selectMount makes a detached mount of what is at selector inside root.
func (s *session) selectMount(root int, selector string) (int, error) {
	fd, err := rootpath.Open(root, selector, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	if s.spec.Sentry && rootpath.CheckKind(fd, true) != nil {
		return fd, nil
	}
	defer unix.Close(fd)
	return cloneMount(fd, "", false)
}

// enterRoot makes the root filesystem the root of this process, and of its namespace; the
// host's directories are then out of reach, except by the descriptors that are open.
func (s *session) enterRoot() error { return changeRoot(s.stubs.Root) }

// leave takes the mounts away and removes the mount points that were made for them.
func (s *session) leave() error {
	if s.stubs.None() {
		return nil // the mounts end with the namespace
	}
	for _, f := range s.frozen { // there may be mount points in them
		if err := s.makeWritable(f.mount); err != nil {
			return err
		}
	}
	if err := s.detachAll(); err != nil {
		return err
	}
	return s.stubs.Remove()
}
