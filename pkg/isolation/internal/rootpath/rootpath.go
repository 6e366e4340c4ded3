// Package rootpath resolves and makes paths in the root filesystem of a RUN, inside of which the
// image decides what every name means. Symbolic links are followed as chroot(2) would, and nothing
// outside of the root is reached.
package rootpath

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links a path may lead through; the kernel's own limit
// is 40, image tools commonly take 255.
const maxLinks = 255

// Open opens p inside the directory root, which symbolic links cannot leave: the mount
// points and directories of an image are whatever its author wanted. flags are those of open(2),
// to which O_CLOEXEC is added. Missing is what openat2(2) says; magic links are refused.
func Open(root int, p string, flags uint64) (int, error) {
	p = strings.TrimLeft(p, "/")
	if p == "" {
		p = "."
	}
	fd, err := unix.Openat2(root, p, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, fmt.Errorf("%s: %w", p, err)
	}
	return fd, nil
}

// Maker makes the directory or file name in the directory parent.
type Maker func(parent int, name string, dir bool) error

// Ensure opens target inside root with O_PATH, after making with mk what is missing of it: its
// parents, the targets of dangling links on the way, and at last a directory or a file. What is
// there but of the other kind gives ENOTDIR or EISDIR.
func Ensure(root int, target string, dir bool, mk Maker) (fd int, err error) {
	var at string // what is resolved already: relative, without links
	todo := split(target)
	links := 0
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		if name == ".." {
			at = parentOf(at)
			continue
		}
		p := path.Join(at, name)
		fd, err := Open(root, p, unix.O_PATH|unix.O_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			if err := makeInside(root, at, name, dir || len(todo) > 0, mk); err != nil {
				return -1, err
			}
			at = p
			continue
		}
		if err != nil {
			return -1, err
		}
		link, isLink, err := readlink(fd)
		unix.Close(fd)
		if err != nil {
			return -1, fmt.Errorf("reading link %s: %w", p, err)
		}
		if !isLink {
			at = p
			continue
		}
		if links++; links > maxLinks {
			return -1, fmt.Errorf("%s: %w", target, unix.ELOOP)
		}
		if strings.HasPrefix(link, "/") {
			at = ""
		}
		todo = append(split(link), todo...)
	}
	fd, err = Open(root, at, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return -1, err
	}
	if err := CheckKind(fd, dir); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("/%s: %w", at, err)
	}
	return fd, nil
}

func makeInside(root int, dir, name string, asDir bool, mk Maker) error {
	parent, err := Open(root, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	if err := mk(parent, name, asDir); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("making /%s: %w", path.Join(dir, name), err)
	}
	return nil
}

// CheckKind returns ENOTDIR or EISDIR unless fd refers to a directory, or to something else, as dir
// wants it.
func CheckKind(fd int, dir bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case dir && !isDir:
		return unix.ENOTDIR
	case !dir && isDir:
		return unix.EISDIR
	}
	return nil
}

// readlink reads the link that fd, opened with O_PATH, refers to.
func readlink(fd int) (target string, isLink bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", false, err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return "", false, err
	}
	return string(buf[:n]), true, nil
}

// split gives the components of p, without empty ones and ".".
func split(p string) []string {
	var names []string
	for _, name := range strings.Split(p, "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}

// parentOf is the directory above the clean relative path p; the root's is the root.
func parentOf(p string) string {
	i := strings.LastIndexByte(p, '/')
	if i < 0 {
		return ""
	}
	return p[:i]
}
