package attack

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// textBase is where Go's linker puts a program's text, and with it that of slipway and of this program.
	textBase = 0x400000
	// maxRegion is the size of the largest piece of memory that is searched.
	maxRegion = 16 << 20
)

// memory searches what other processes can write of their own memory.
func (a *attacker) memory() []string {
	return a.eachOther("mem", func(path string) []string {
		mem, err := os.Open(path)
		if err != nil {
			return nil
		}
		defer mem.Close()
		if _, err := mem.ReadAt(make([]byte, 1), textBase); err != nil {
			return nil
		}
		found := []string{path}
		maps, err := os.ReadFile(filepath.Join(filepath.Dir(path), "maps"))
		if err != nil {
			return found
		}
		for line := range strings.Lines(string(maps)) {
			var begin, end int64
			var access string
			if _, err := fmt.Sscanf(line, "%x-%x %s", &begin, &end, &access); err != nil || !strings.HasPrefix(access, "rw") || end-begin > maxRegion {
				continue
			}
			data := make([]byte, end-begin)
			n, _ := mem.ReadAt(data, begin) // what could be read counts
			found = append(found, a.found(path, data[:n])...)
		}
		return unique(found)
	})
}

func (a *attacker) readMemory() []string {
	return a.eachProcess(func(pid int) bool {
		data := make([]byte, 16)
		n, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &data[0], Len: uint64(len(data))}}, []unix.RemoteIovec{{Base: textBase, Len: len(data)}}, 0)
		return err == nil && n > 0 && !bytes.Equal(data, make([]byte, 16))
	})
}

// trace becomes the tracer of processes, until the end of its thread.
func (a *attacker) trace() []string {
	found := make(chan []string)
	go func() {
		runtime.LockOSThread() // never unlocked: the tracing ends with the thread
		found <- a.eachProcess(func(pid int) bool {
			_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(pid), 0, 0, 0, 0)
			return errno == 0
		})
	}()
	return <-found
}

// namespaces enters the mount namespaces of other processes, on a thread that ends then.
func (a *attacker) namespaces() []string {
	found := make(chan []string)
	go func() {
		runtime.LockOSThread() // never unlocked
		if unix.Unshare(unix.CLONE_FS) != nil {
			found <- nil // no thread can enter one then
			return
		}
		found <- a.eachOther("ns/mnt", func(path string) []string {
			namespace, err := os.Open(path)
			if err != nil {
				return nil
			}
			defer namespace.Close()
			if unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS) != nil {
				return nil
			}
			return []string{path}
		})
	}()
	return <-found
}

// signals finds out who could be killed. Who waits for this process and does nothing else does not count.
func (a *attacker) signals() []string {
	return a.eachProcess(func(pid int) bool { return !slices.Contains(a.own, pid) && unix.Kill(pid, 0) == nil })
}

func (a *attacker) eachProcess(try func(pid int) bool) []string {
	var found []string
	for _, other := range a.others {
		pid, err := strconv.Atoi(filepath.Base(other))
		if err == nil && try(pid) {
			found = append(found, other)
		}
	}
	return found
}

// sockets connects to those that have no path but a name in the network namespace.
func (a *attacker) sockets() []string {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil
	}
	defer f.Close()
	names := []string{"@innocent"}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 8 && strings.HasPrefix(fields[7], "@") {
			names = append(names, fields[7])
		}
	}
	var found []string
	for _, name := range unique(names) {
		connection, err := net.Dial("unix", name)
		if err != nil {
			continue
		}
		_ = connection.Close() // was only opened
		found = append(found, name)
	}
	return found
}
