// Helper is the program that the suite runs for what busybox has no command for. It is one
// word and its arguments; it prints its results and exits with 1 after an error.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func run(word string, args []string) error {
	switch word {
	case "setxattr": // PATH NAME VALUE
		return syscall.Setxattr(args[0], args[1], []byte(args[2]), 0)
	case "setcap": // PATH: cap_net_bind_service=ep
		value := string([]byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		return syscall.Setxattr(args[0], "security.capability", []byte(value), 0)
	case "getxattrs": // PATH
		return getXattrs(args[0])
	case "euid":
		fmt.Println(os.Geteuid())
		return nil
	case "caps": // the effective capabilities
		return status("CapEff:")
	case "bounding":
		return status("CapBnd:")
	case "socket": // PATH: leaves a socket there
		l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: args[0]})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		return l.Close()
	case "talk": // SOCKET WORD: prints what the other side answers
		return talk(args[0], args[1])
	case "fds": // its open descriptors above 2; one is the directory being listed
		return descriptors()
	case "links": // PATH PATH: whether they are one file
		return sameFile(args[0], args[1])
	case "remap": // calls remap_file_pages(2), which some kernels lack
		if _, _, err := syscall.Syscall(syscall.SYS_REMAP_FILE_PAGES, 0, 0, 0); err != 0 {
			return err
		}
		return nil
	case "rseq": // calls rseq(2), as glibc does in every process, and fails
		_, _, err := syscall.Syscall6(unix.SYS_RSEQ, 0, 0, 0, 0, 0, 0)
		return fmt.Errorf("rseq: %w", err)
	case "fork": // leaves processes behind that leave processes behind
		return fork(args[0])
	}
	return fmt.Errorf("unknown word %q", word)
}

func getXattrs(path string) error {
	buf := make([]byte, 64<<10)
	n, err := syscall.Listxattr(path, buf)
	if err != nil {
		return err
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		n, err := syscall.Getxattr(path, name, value)
		if name == "" || err != nil {
			continue
		}
		fmt.Printf("%s=%q\n", name, value[:n])
	}
	return nil
}

func status(field string) error {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, field); ok {
			fmt.Println(strings.TrimSpace(v))
		}
	}
	return nil
}

func talk(socket, word string) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte(word)); err != nil {
		return err
	}
	if err := c.(*net.UnixConn).CloseWrite(); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	fmt.Println(string(answer))
	return err
}

func descriptors() error {
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, n := range names {
		target, err := os.Readlink("/proc/self/fd/" + n.Name())
		if err != nil || len(n.Name()) == 1 && n.Name() <= "2" || strings.HasPrefix(target, "anon_inode:") || strings.HasPrefix(target, "/sys/fs/cgroup/") {
			continue // gone again, standard, or the runtime's own
		}
		fmt.Println(n.Name(), target)
	}
	return nil
}

func sameFile(a, b string) error {
	sa, err := os.Stat(a)
	if err != nil {
		return err
	}
	sb, err := os.Stat(b)
	if err != nil {
		return err
	}
	fmt.Println(os.SameFile(sa, sb))
	return nil
}

// fork starts sessions of sleeping processes whose parents end at once; depth says how many
// generations there are.
func fork(depth string) error {
	if depth == "" {
		time.Sleep(time.Hour)
	}
	for range 3 {
		_, err := syscall.ForkExec("/bin/helper", []string{"helper", "fork", depth[1:]}, &syscall.ProcAttr{
			Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true},
		})
		if err != nil {
			return err
		}
	}
	return nil
}
