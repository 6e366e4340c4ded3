package inode

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Names lists the open directory fd, in no order, from where it was read last.
func Names(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return nil, os.NewSyscallError("getdents", err)
		}
		if n <= 0 {
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}

// Children calls do for everything in a directory, which is name in the open directory dir, or dir itself if
// name is "". path is its place in the layer, as those that do gets are of what is in it.
func Children(dir int, name, path string, do func(dir int, name, path string) error) error {
	fd := dir
	if name != "" {
		var err error
		if fd, err = unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("/%s: %w", path, err)
		}
		defer unix.Close(fd)
		path += "/"
	}
	names, err := Names(fd)
	if err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
	for _, name := range names {
		if err := do(fd, name, path+name); err != nil {
			return err
		}
	}
	return nil
}
