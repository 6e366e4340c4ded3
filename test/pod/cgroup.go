package pod

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroups is where the kernel's control groups are mounted.
const cgroups = "/sys/fs/cgroup"

// cgroup is the control group of a container.
type cgroup struct {
	// path is what runc is told.
	path string
	// unified says that it is one of version 2.
	unified bool
	// oom is the file with a line "oom_kill COUNT".
	oom string
}

// newCgroup says where the container's cgroup will be: with version 1 below that of this
// process, with version 2, where only groups without processes have children with limits, at
// the top; or at wanted, an absolute path, if that is not empty.
func newCgroup(id, wanted string) (cgroup, error) {
	_, err := os.Stat(filepath.Join(cgroups, "cgroup.controllers"))
	if err == nil {
		if wanted != "" {
			return cgroup{path: wanted, unified: true, oom: filepath.Join(cgroups, wanted, "memory.events")}, nil
		}
		return cgroup{path: "/" + id, unified: true, oom: filepath.Join(cgroups, id, "memory.events")}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return cgroup{}, err
	}
	if wanted != "" {
		return cgroup{path: wanted, oom: filepath.Join(cgroups, "memory", wanted, "memory.oom_control")}, nil
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return cgroup{}, err
	}
	for line := range strings.Lines(string(own)) {
		_, path, found := strings.Cut(line, ":memory:")
		if found {
			oom := filepath.Join(cgroups, "memory", strings.TrimSpace(path), id, "memory.oom_control")
			return cgroup{path: id, oom: oom}, nil
		}
	}
	return cgroup{}, errors.New("this machine has no memory cgroup")
}

// oomKilled reports whether a process of the group was killed because memory ran out.
func (c cgroup) oomKilled() (bool, error) {
	data, err := os.ReadFile(c.oom)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(data)) {
		count, found := strings.CutPrefix(line, "oom_kill ")
		if found {
			n, err := strconv.Atoi(strings.TrimSpace(count))
			return n > 0, err
		}
	}
	return false, fmt.Errorf("%s does not count oom_kill", c.oom)
}
