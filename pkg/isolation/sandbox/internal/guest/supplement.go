package guest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// Supplement is what a layer's image cannot hold: files with extended attributes, and devices. It is
// made as a directory that lies over the image.
type Supplement struct {
	Image string // where the image is shown
	Path  string // of the directory to be made
	Files []File // in tree order, parents included
}

// File is one file of a supplement, by its full description but for the content, which the image has.
type File struct {
	Path         string // relative; "" for the directory itself
	Mode         uint32 // as in st_mode(2)
	UID, GID     uint32
	ModTime      time.Time
	Major, Minor uint32
	Link         string // a symbolic link's target
	Same         string // path of the file in the supplement that this is a further name of
	Xattrs       map[string]string
}

func (s *Supplement) make() error {
	if err := os.Mkdir(s.Path, 0o700); err != nil {
		return err
	}
	for i := range s.Files {
		f := &s.Files[i]
		if err := s.file(f); err != nil {
			return fmt.Errorf("/%s: %w", f.Path, err)
		}
	}
	for i := len(s.Files) - 1; i >= 0; i-- { // what is made in a directory changes its time
		f := &s.Files[i]
		if f.Same != "" {
			continue
		}
		if err := f.apply(path.Join(s.Path, f.Path)); err != nil {
			return fmt.Errorf("/%s: %w", f.Path, err)
		}
	}
	return nil
}

// file makes f, without its attributes. No path of a supplement leads through a symbolic link: all
// directories of it are its own.
func (s *Supplement) file(f *File) error {
	to := path.Join(s.Path, f.Path)
	if f.Same != "" {
		return os.Link(path.Join(s.Path, f.Same), to)
	}
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if f.Path == "" {
			return nil
		}
		return os.Mkdir(to, 0o700)
	case unix.S_IFREG:
		return copyFile(path.Join(s.Image, f.Path), to)
	case unix.S_IFLNK:
		return os.Symlink(f.Link, to)
	default:
		return unix.Mknod(to, f.Mode&unix.S_IFMT|0o600, int(unix.Mkdev(f.Major, f.Minor)))
	}
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// apply gives what is at a path the attributes of f. The owner comes first: a new one takes
// setuid bits and capabilities away.
func (f *File) apply(at string) error {
	if err := os.Lchown(at, int(f.UID), int(f.GID)); err != nil {
		return err
	}
	if f.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(at, f.Mode&0o7777); err != nil {
			return &os.PathError{Op: "chmod", Path: at, Err: err}
		}
	}
	for name, value := range f.Xattrs {
		if err := unix.Lsetxattr(at, name, []byte(value), 0); err != nil {
			return &os.PathError{Op: "setxattr " + name, Path: at, Err: err}
		}
	}
	when := unix.NsecToTimespec(f.ModTime.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, at, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "utimensat", Path: at, Err: err}
	}
	return nil
}
