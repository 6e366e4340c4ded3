package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// hierarchies are the control groups as this process sees them.
type hierarchies struct {
	mount string // where they are mounted
	own   string // content of /proc/self/cgroup
}

// unified reports whether they are of version 2.
func (h *hierarchies) unified() bool {
	_, err := os.Stat(filepath.Join(h.mount, "cgroup.controllers"))
	return err == nil
}

// path is the directory of this process's group in the hierarchy that is mounted at dir, below
// the mount of all: that of a controller, or "" for version 2. In a container, the name of the
// group can be that on the node, while the mount begins with the group.
func (h *hierarchies) path(dir, controller string) string {
	root := filepath.Join(h.mount, dir)
	for line := range strings.Lines(h.own) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 || !hasField(fields[1], controller) {
			continue
		}
		p := filepath.Join(root, filepath.Clean("/"+fields[2]))
		if info, err := os.Stat(p); err == nil && info.IsDir() {
			return p
		}
	}
	return root
}

// hasField reports whether name is in a list separated by commas; "" is in the empty one.
func hasField(list, name string) bool {
	for f := range strings.SplitSeq(list, ",") {
		if f == name {
			return true
		}
	}
	return false
}

// below lists the directories from root down to the group, root first. No group is outside of it.
func below(root, group string) []string {
	dirs := []string{root}
	for name := range strings.SplitSeq(filepath.Clean("/"+group), "/") {
		if name != "" {
			dirs = append(dirs, filepath.Join(dirs[len(dirs)-1], name))
		}
	}
	return dirs
}

// setting is what a file of a control group is to contain.
type setting struct{ file, value string }

// controller is a part of the kernel that sets limits.
type controller struct {
	name     string
	settings func(v2 bool, r isolation.Resources) []setting // in the order in which they are written
}

func controllers() []controller {
	return []controller{{"memory", memory}, {"cpu", cpu}, {"cpuset", cpuset}}
}

func memory(v2 bool, r isolation.Resources) []setting {
	var s []setting
	if r.Memory > 0 {
		s = append(s, setting{name(v2, "memory.limit_in_bytes", "memory.max"), strconv.FormatInt(r.Memory, 10)})
	}
	switch {
	case r.MemorySwap == 0:
	case v2 && r.MemorySwap < 0:
		s = append(s, setting{"memory.swap.max", "max"})
	case v2:
		// In version 2, swap is counted for itself.
		s = append(s, setting{"memory.swap.max", strconv.FormatInt(max(r.MemorySwap-r.Memory, 0), 10)})
	default:
		s = append(s, setting{"memory.memsw.limit_in_bytes", strconv.FormatInt(max(r.MemorySwap, -1), 10)})
	}
	return s
}

func cpu(v2 bool, r isolation.Resources) []setting {
	var s []setting
	if r.CPUShares > 0 {
		value := r.CPUShares
		if v2 {
			// From 2…262144 to 1…10000, as container runtimes convert it.
			value = 1 + (min(max(value, 2), 262144)-2)*9999/262142
		}
		s = append(s, setting{name(v2, "cpu.shares", "cpu.weight"), strconv.FormatUint(value, 10)})
	}
	if v2 {
		if r.CPUQuota != 0 || r.CPUPeriod > 0 {
			quota, period := "max", uint64(100_000)
			if r.CPUQuota > 0 {
				quota = strconv.FormatInt(r.CPUQuota, 10)
			}
			if r.CPUPeriod > 0 {
				period = r.CPUPeriod
			}
			s = append(s, setting{"cpu.max", fmt.Sprintf("%s %d", quota, period)})
		}
		return s
	}
	if r.CPUPeriod > 0 {
		s = append(s, setting{"cpu.cfs_period_us", strconv.FormatUint(r.CPUPeriod, 10)})
	}
	if r.CPUQuota != 0 {
		s = append(s, setting{"cpu.cfs_quota_us", strconv.FormatInt(r.CPUQuota, 10)})
	}
	return s
}

func cpuset(_ bool, r isolation.Resources) []setting {
	var s []setting
	if r.CPUSetCPUs != "" {
		s = append(s, setting{"cpuset.cpus", r.CPUSetCPUs})
	}
	if r.CPUSetMems != "" {
		s = append(s, setting{"cpuset.mems", r.CPUSetMems})
	}
	return s
}

func name(v2 bool, one, two string) string {
	if v2 {
		return two
	}
	return one
}
