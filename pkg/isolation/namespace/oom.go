package namespace

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// oomKills counts the processes of the pod that were killed because its memory ran out, as far
// as its cgroup tells: memory.events of cgroup v2, memory.oom_control of v1. Where it
// cannot be read, a killed process is reported as killed and no more.
func oomKills() int {
	for _, path := range oomFiles() {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
				n, err := strconv.Atoi(strings.TrimSpace(count))
				if err == nil {
					return n
				}
			}
		}
	}
	return 0
}

// oomFiles lists where the counter may be: at the cgroup that /proc/self/cgroup names, or,
// where that path is of the node and not of the container, at the top.
func oomFiles() []string {
	const root = "/sys/fs/cgroup"
	paths := []string{
		filepath.Join(root, "memory.events"),
		filepath.Join(root, "memory/memory.oom_control"),
	}
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return paths
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || strings.Contains(fields[2], "..") {
			continue
		}
		switch {
		case fields[0] == "0" && fields[1] == "":
			paths = append([]string{filepath.Join(root, fields[2], "memory.events")}, paths...)
		case fields[1] == "memory":
			paths = append([]string{filepath.Join(root, "memory", fields[2], "memory.oom_control")}, paths...)
		}
	}
	return paths
}
