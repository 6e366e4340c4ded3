package attack

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSearched is how much of a file is searched, in bytes.
const maxSearched = 1 << 20

// search looks for canaries in a file.
func (a *attacker) search(path string) []string {
	// A FIFO must not stop the search.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, _ := io.ReadAll(io.LimitReader(f, maxSearched)) // what could be read counts
	return a.found(path, data)
}

func (a *attacker) found(where string, data []byte) []string {
	var found []string
	for _, canary := range a.canary.FindAll(data, -1) {
		found = append(found, where+": "+string(canary))
	}
	return unique(found)
}

// searchBelow looks for canaries in all regular files below a directory; those that the kernel makes are left out.
func (a *attacker) searchBelow(dir string) []string {
	var found []string
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if path == "/proc" || path == "/sys" || path == "/dev" {
			return fs.SkipDir
		}
		// What cannot be read is not reached.
		if err == nil && entry.Type().IsRegular() {
			found = append(found, a.search(path)...)
		}
		return nil
	})
	return found
}

// roots are the directories that other processes have as their root, and this one.
func (a *attacker) roots() []string {
	roots := []string{""}
	for _, other := range a.others {
		roots = append(roots, other+"/root")
	}
	return roots
}

// below searches files, or directories, in all roots.
func (a *attacker) below(names ...string) []string {
	var found []string
	for _, root := range a.roots() {
		for _, name := range names {
			// The slash follows a link that the name is itself.
			found = append(found, a.searchBelow(root+name+"/")...)
			found = append(found, a.search(root+name)...)
		}
	}
	return found
}

func (a *attacker) token() []string {
	return a.below("/var/run/secrets/kubernetes.io/serviceaccount/token", "/run/secrets/kubernetes.io/serviceaccount/token")
}

func (a *attacker) logins() []string {
	return a.below("/login/config.json", "/tmp/.docker/config.json", "/root/.docker/config.json", "/kaniko/.docker/config.json", "/tekton/home/.docker/config.json")
}

func (a *attacker) secrets() []string { return a.below("/run/secrets", "/secret", "/slipway-state") }

func (a *attacker) allFiles() []string { return a.searchBelow("/") }

// kernelDirectories looks for what the sandbox's kernel has beside the root of the RUN.
func (a *attacker) kernelDirectories() []string {
	var found []string
	for _, root := range a.roots() {
		for _, name := range []string{"/i", "/u"} {
			if _, err := os.Lstat(root + name); err == nil {
				found = append(found, root+name)
			}
		}
	}
	return found
}

func (a *attacker) arguments() []string { return a.eachOther("cmdline", a.search) }

func (a *attacker) environments() []string { return a.eachOther("environ", a.search) }

func (a *attacker) workingDirectories() []string { return a.eachOther("cwd/.", opened) }

// descriptors opens what other processes have open.
func (a *attacker) descriptors() []string {
	return a.eachOther("fd", func(dir string) []string {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil
		}
		var found []string
		for _, e := range entries {
			found = append(found, opened(filepath.Join(dir, e.Name()))...)
		}
		return found
	})
}

func (a *attacker) eachOther(name string, try func(path string) []string) []string {
	var found []string
	for _, other := range a.others {
		found = append(found, try(other+"/"+name)...)
	}
	return found
}

// opened tries to open a file.
func opened(path string) []string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil
	}
	_ = unix.Close(fd) // was only opened
	return []string{path}
}

func (a *attacker) inherited() []string { return nil } // asked for before all others

// inheritedDescriptors lists what the process has open beside its standard streams and what Go's runtime opens.
func inheritedDescriptors() ([]string, error) {
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var found []string
	for fd := 3; fd < 1024; fd++ {
		name := strconv.Itoa(fd)
		target := make([]byte, 4096)
		n, err := unix.Readlinkat(dir, name, target)
		if err != nil || fd == dir {
			continue
		}
		if text := string(target[:n]); !strings.HasPrefix(text, "anon_inode:") && !strings.HasPrefix(text, "/sys/fs/cgroup/") {
			found = append(found, name+": "+text)
		}
	}
	return found, nil
}

func unique(list []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
