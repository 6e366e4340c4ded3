package layer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// beneath opens files below a directory, with one call of the kernel (openat2(2)) where there is one. It does what
// [os.Root] does, which walks there directory by directory: of files as small as most are, opening is what reading
// them takes.
type beneath struct {
	root *os.Root
	dir  *os.File // the root itself; closed when nobody has it any more
	fd   int      // of dir
}

func newBeneath(root *os.Root) (beneath, error) {
	dir, err := root.OpenFile(".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return beneath{}, err
	}
	return beneath{root, dir, int(dir.Fd())}, nil
}

// openFlags are those of files that are read. O_NONBLOCK: should a fifo have taken a file's place, opening it must not
// wait for a writer.
const openFlags = unix.O_RDONLY | unix.O_NONBLOCK

// open opens a file for reading.
func (b *beneath) open(path string) (file, error) {
	fd, err := unix.Openat2(b.fd, path, &unix.OpenHow{Flags: openFlags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS})
	runtime.KeepAlive(b.dir)
	switch {
	case err == nil:
		return &rawFile{fd, path}, nil
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		// There is no such call, it is forbidden, or somebody is moving directories.
		return b.walk(path)
	}
	return nil, &fs.PathError{Op: "openat2", Path: path, Err: err}
}

// walk is open without openat2(2).
func (b *beneath) walk(path string) (file, error) {
	f, err := b.root.OpenFile(path, openFlags, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// file is one that was opened.
type file interface {
	io.ReadCloser
	stamp() (s Stamp, regular bool, err error)
}

// osFile is a file of the os package.
type osFile struct{ *os.File }

func (f osFile) stamp() (Stamp, bool, error) {
	fi, err := f.Stat()
	if err != nil {
		return Stamp{}, false, err
	}
	s, err := StampOf(fi)
	return s, fi.Mode().IsRegular(), err
}

// rawFile is a file without what Go makes of one, which asks the kernel four more times.
type rawFile struct {
	fd   int
	path string
}

func (f *rawFile) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, &fs.PathError{Op: "read", Path: f.path, Err: err}
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// ReadAt implements [io.ReaderAt].
func (f *rawFile) ReadAt(p []byte, offset int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pread(f.fd, p[n:], offset+int64(n))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return n, &fs.PathError{Op: "pread", Path: f.path, Err: err}
		case m == 0:
			return n, io.EOF
		}
		n += m
	}
	return n, nil
}

func (f *rawFile) Close() error {
	if f.fd < 0 {
		return fs.ErrClosed
	}
	fd := f.fd
	f.fd = -1
	if err := unix.Close(fd); err != nil {
		return &fs.PathError{Op: "close", Path: f.path, Err: err}
	}
	return nil
}

func (f *rawFile) stamp() (Stamp, bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return Stamp{}, false, fmt.Errorf("fstat: %w", err)
	}
	return Stamp{Dev: st.Dev, Ino: st.Ino, Size: st.Size, ModTime: st.Mtim.Nano()}, st.Mode&unix.S_IFMT == unix.S_IFREG, nil
}
