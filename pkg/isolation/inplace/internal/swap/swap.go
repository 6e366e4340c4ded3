// Package swap exchanges the content of a root directory for that of a tree beside it, and back,
// by rename(2) alone.
//
// What is mounted in the root stays, and so do the directories above it: their entries are moved one
// by one. The pod's own entries wait in a directory called the hold, at the same paths. Where they
// are says all that is needed to put them back; in addition, a journal tells which of the two is in
// the root, and the attributes that directories had. Every step can be interrupted, and
// [Swap.Undo] takes up from there.
//
// A directory of an image, on an overlay root, cannot be renamed (EXDEV). It is moved by making
// another one like it, moving its entries, and removing it when it is empty, as mv(1) does.
package swap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// Swap is the exchange for one root directory. It must not be used concurrently.
type Swap struct {
	root  string
	store string
	pins  *Pins
	now   *journal // nil unless a tree is in the root
	// Mounts, if set, lists what is mounted below the root now, as [MountPoints] does. Undo
	// moves nothing if there is something mounted that was not when the tree came in.
	Mounts func() ([]string, error)
	// step, if set, is called before every change; its error stands for the death of
	// this process.
	step func(what string) error
}

// New returns the Swap for root, an absolute path. store is the directory, on the same filesystem and
// below root, that holds trees, hold and journal.
func New(root, store string) *Swap { return &Swap{root: root, store: store} }

// Conflict is a path of the tree that could not be laid over a mount point.
type Conflict struct{ Path, Mount string }

// Enter puts the tree at path, which is a directory of the store, into the root, except where
// pins are. After an error the root is half exchanged: Undo must be called.
func (s *Swap) Enter(name string, pins []string) ([]Conflict, error) {
	if s.now != nil {
		return nil, errors.New("there is a tree in the root already")
	}
	s.pins = NewPins(pins...)
	j := &journal{Phase: hiding, Tree: name, Pins: pins}
	if err := s.takeBallast(); err != nil {
		return nil, fmt.Errorf("exchanging the root: %w", err)
	}
	if err := s.write(j); err != nil {
		return nil, fmt.Errorf("exchanging the root: %w", err)
	}
	s.now = j
	conflicts, err := s.enter()
	if err != nil {
		return nil, fmt.Errorf("exchanging the root: %w", err)
	}
	return conflicts, nil
}

func (s *Swap) enter() ([]Conflict, error) {
	if err := s.record(""); err != nil {
		return nil, err
	}
	if err := s.mkdir(s.inHold("")); err != nil {
		return nil, err
	}
	if err := s.hide(""); err != nil {
		return nil, err
	}
	s.now.Phase = placed
	if err := s.write(s.now); err != nil {
		return nil, err
	}
	var conflicts []Conflict
	return conflicts, s.place("", &conflicts)
}

// hide moves the pod's own entries of the directory rel into the hold.
func (s *Swap) hide(rel string) error {
	names, err := entries(s.inRoot(rel))
	if err != nil {
		return err
	}
	for _, name := range names {
		p := join(rel, name)
		switch {
		case s.pins.Pinned(p):
		case s.pins.Above(p):
			if err := s.record(p); err != nil {
				return err
			}
			if err := s.mkdir(s.inHold(p)); err != nil {
				return err
			}
			if err := s.hide(p); err != nil {
				return err
			}
		default:
			if err := s.moveAway(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// moveAway moves an entry of the root into the hold.
func (s *Swap) moveAway(p string) error {
	from, to := s.inRoot(p), s.inHold(p)
	err := s.rename(from, to)
	if !errors.Is(err, unix.EXDEV) {
		return err
	}
	info, statErr := os.Lstat(from)
	if statErr != nil || !info.IsDir() {
		return errors.Join(err, statErr)
	}
	if err := s.record(p); err != nil {
		return err
	}
	if err := s.mkdir(to); err != nil {
		return err
	}
	names, err := entries(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.moveAway(join(p, name)); err != nil {
			return err
		}
	}
	return s.rmdir(from)
}

// place moves the entries of the tree's directory rel into the root.
func (s *Swap) place(rel string, conflicts *[]Conflict) error {
	attrs, err := readMeta(s.inTree(rel))
	if err != nil {
		return err
	}
	names, err := entries(s.inTree(rel))
	if err != nil {
		return err
	}
	for _, name := range names {
		p := join(rel, name)
		info, err := os.Lstat(s.inTree(p))
		if err != nil {
			return err
		}
		_, err = os.Lstat(s.inRoot(p))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = s.rename(s.inTree(p), s.inRoot(p))
		case err != nil:
		case s.pins.Above(p) && info.IsDir():
			err = s.place(p, conflicts)
		default:
			err = s.conflict(p, info, conflicts)
		}
		if err != nil {
			return err
		}
	}
	if err := s.before("changing the attributes of /" + rel); err != nil {
		return err
	}
	return errors.Join(attrs.apply(s.inRoot(rel)), attrs.apply(s.inTree(rel)))
}

// conflict notes that p stays in the tree, unless nobody could miss it.
func (s *Swap) conflict(p string, info fs.FileInfo, conflicts *[]Conflict) error {
	if s.pins.Pinned(p) && info.IsDir() {
		names, err := entries(s.inTree(p))
		if err != nil || len(names) == 0 {
			return err
		}
	}
	mount := p
	for pin := range s.pins.pinned {
		if _, below := Below("/"+p, "/"+pin); below && !s.pins.Pinned(p) {
			mount = pin
		}
	}
	*conflicts = append(*conflicts, Conflict{"/" + p, "/" + mount})
	return nil
}

// collect moves the entries of the root's directory rel back into the tree. lost are directories
// in which there is something that the tree has no place for; it goes to a directory beside.
func (s *Swap) collect(rel string, lost *[]string) error {
	attrs, err := readMeta(s.inRoot(rel))
	if err != nil {
		return err
	}
	names, err := entries(s.inRoot(rel))
	if err != nil {
		return err
	}
	for _, name := range names {
		p := join(rel, name)
		switch {
		case s.pins.Pinned(p):
		case s.pins.Above(p):
			err = s.collectAbove(p, lost)
		default:
			err = s.rename(s.inRoot(p), s.inTree(p))
		}
		if err != nil {
			return err
		}
	}
	if err := s.before("keeping the attributes of /" + rel); err != nil {
		return err
	}
	return attrs.apply(s.inTree(rel))
}

// collectAbove collects a directory that stays because there are mount points in it.
func (s *Swap) collectAbove(p string, lost *[]string) error {
	info, err := os.Lstat(s.inTree(p))
	if err == nil && info.IsDir() {
		return s.collect(p, lost)
	}
	used, usedErr := s.used(p)
	if usedErr != nil || !used {
		return usedErr
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.mkdir(s.inTree(p)); err != nil {
			return err
		}
		return s.collect(p, lost)
	}
	if err != nil {
		return err
	}
	*lost = append(*lost, "/"+p)
	if err := s.rename(s.inTree(p), s.inTree(p)+".slipway-replaced"); err != nil {
		return err
	}
	if err := s.mkdir(s.inTree(p)); err != nil {
		return err
	}
	return s.collect(p, lost)
}

// used reports whether there is something in the directory p of the root that does not stay.
func (s *Swap) used(p string) (bool, error) {
	names, err := entries(s.inRoot(p))
	if err != nil {
		return false, err
	}
	for _, name := range names {
		q := join(p, name)
		switch {
		case s.pins.Pinned(q):
		case s.pins.Above(q):
			if used, err := s.used(q); err != nil || used {
				return used, err
			}
		default:
			return true, nil
		}
	}
	return false, nil
}

// Undone says what Undo found.
type Undone struct {
	// Tree is the name of the tree that was, or was to be, in the root; "" if none.
	Tree string
	// Lost are directories of the pod in which the process made something where the
	// tree has no directory. The tree is then not what the process left.
	Lost []string
}

// Undo takes the tree out of the root, if there is one, and puts everything back. It may be called
// again after an error, and by another process.
func (s *Swap) Undo() (Undone, error) {
	var u Undone
	j, err := s.read()
	if err != nil {
		return u, fmt.Errorf("restoring the root: %w", err)
	}
	if j == nil && s.now != nil {
		return u, fmt.Errorf("restoring the root: the process has removed %s, and what was in it", s.journalPath())
	}
	s.now = nil
	if j == nil {
		// What was recorded without a journal was not used.
		if err := os.Remove(s.dirsPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return u, err
		}
		return u, nil
	}
	u.Tree = j.Tree
	s.pins, s.now = NewPins(j.Pins...), j
	if err := s.checkMounts(); err != nil {
		return u, fmt.Errorf("restoring the root: %w", err)
	}
	if err := s.undo(&u.Lost); err != nil {
		return u, fmt.Errorf("restoring the root: %w", err)
	}
	s.now = nil
	return u, nil
}

// checkMounts refuses to go on when a directory with a mount in it was moved: what follows would
// take it for a part of the tree.
func (s *Swap) checkMounts() error {
	if s.Mounts == nil {
		return nil
	}
	mounts, err := s.Mounts()
	if err != nil {
		return err
	}
	for _, path := range mounts {
		if !s.pins.Covers(path) {
			return fmt.Errorf("something is mounted at /%s that was not there before", path)
		}
	}
	return nil
}

func (s *Swap) undo(lost *[]string) error {
	if err := s.dropBallast(); err != nil {
		return err
	}
	if err := s.cleanUp(); err != nil {
		return err
	}
	if s.now.Phase == placed {
		// The process could reach both.
		if _, err := os.Lstat(s.inHold("")); err != nil {
			return fmt.Errorf("the pod's own files are gone: %w", err)
		}
		if err := s.mkdir(s.inTree("")); err != nil {
			return err
		}
		if err := s.collect("", lost); err != nil {
			return err
		}
	}
	s.now.Phase = restoring
	if err := s.write(s.now); err != nil {
		return err
	}
	if err := s.restore(""); err != nil {
		return err
	}
	list, err := s.recorded()
	if err != nil {
		return err
	}
	slices.Reverse(list) // parents come before what is in them
	for i := range list {
		if err := s.before("changing the attributes of /" + list[i].Path); err != nil {
			return err
		}
		if err := list[i].apply(s.inRoot(list[i].Path)); err != nil {
			return err
		}
	}
	return s.forget()
}

// restore moves the entries of the hold's directory rel back into the root.
func (s *Swap) restore(rel string) error {
	names, err := entries(s.inHold(rel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		p := join(rel, name)
		there, err := os.Lstat(s.inRoot(p))
		if errors.Is(err, fs.ErrNotExist) {
			if err := s.rename(s.inHold(p), s.inRoot(p)); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		held, err := os.Lstat(s.inHold(p))
		if err != nil {
			return err
		}
		if !there.IsDir() || !held.IsDir() {
			return fmt.Errorf("%s cannot go back to %s, where there is something else", s.inHold(p), s.inRoot(p))
		}
		if err := s.restore(p); err != nil {
			return err
		}
	}
	return s.rmdir(s.inHold(rel))
}

func (s *Swap) inRoot(p string) string  { return filepath.Join(s.root, p) }
func (s *Swap) inStore(p string) string { return filepath.Join(s.store, p) }
func (s *Swap) inHold(p string) string  { return filepath.Join(s.store, "hold", p) }
func (s *Swap) inTree(p string) string  { return filepath.Join(s.store, s.now.Tree, p) }

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// entries lists a directory, sorted, before any of them is moved.
func entries(dir string) ([]string, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, errors.Join(err, f.Close())
}

func (s *Swap) before(what string) error {
	if s.step == nil {
		return nil
	}
	return s.step(what)
}

// rename moves from to to, where there must be nothing.
func (s *Swap) rename(from, to string) error {
	if err := s.before("rename " + from); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// mkdir makes a directory that may have been made before an interruption.
func (s *Swap) mkdir(path string) error {
	if err := s.before("mkdir " + path); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (s *Swap) rmdir(path string) error {
	if err := s.before("rmdir " + path); err != nil {
		return err
	}
	return unix.Rmdir(path)
}
