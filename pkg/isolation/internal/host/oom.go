package host

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroups is where the control groups of a pod are mounted.
const cgroups = "/sys/fs/cgroup"

// OOMKills counts the processes of the pod that were killed because its memory ran out, as far
// as its cgroup tells. Where it cannot be read, a killed process is reported as killed and
// no more.
func OOMKills() int {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		own = nil
	}
	for _, path := range oomFiles(string(own)) {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if n, ok := oomCount(string(data)); ok {
			return n
		}
	}
	return 0
}

// oomCount reads the counter: both memory.events of cgroup v2 and memory.oom_control of v1
// have it in a line "oom_kill N".
func oomCount(data string) (int, bool) {
	for line := range strings.Lines(data) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(count))
			return n, err == nil
		}
	}
	return 0, false
}

// oomFiles lists where the counter may be, most likely first: in the cgroups that own, the content
// of /proc/self/cgroup, names (cgroups(7)), or, where those are paths of the node and not of
// the container, at the top.
func oomFiles(own string) []string {
	var paths []string
	for line := range strings.Lines(own) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || strings.Contains(fields[2], "..") {
			continue
		}
		switch {
		case fields[0] == "0" && fields[1] == "":
			paths = append(paths, filepath.Join(cgroups, fields[2], "memory.events"))
		case fields[1] == "memory":
			paths = append(paths, filepath.Join(cgroups, "memory", fields[2], "memory.oom_control"))
		}
	}
	return append(paths, filepath.Join(cgroups, "memory.events"), filepath.Join(cgroups, "memory/memory.oom_control"))
}
