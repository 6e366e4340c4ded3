package host

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
)

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits isolation.Resources
		v1, v2 string
	}{
		{"none", isolation.Resources{}, "", ""},
		{"memory", isolation.Resources{Memory: 100}, "memory.limit_in_bytes=100", "memory.max=100"},
		{"swap", isolation.Resources{Memory: 100, MemorySwap: 300}, "memory.limit_in_bytes=100 memory.memsw.limit_in_bytes=300", "memory.max=100 memory.swap.max=200"},
		{"no swap", isolation.Resources{Memory: 100, MemorySwap: 100}, "memory.limit_in_bytes=100 memory.memsw.limit_in_bytes=100", "memory.max=100 memory.swap.max=0"},
		{"any swap", isolation.Resources{Memory: 100, MemorySwap: -1}, "memory.limit_in_bytes=100 memory.memsw.limit_in_bytes=-1", "memory.max=100 memory.swap.max=max"},
		{"shares", isolation.Resources{CPUShares: 1024}, "cpu.shares=1024", "cpu.weight=39"},
		{"fewest shares", isolation.Resources{CPUShares: 1}, "cpu.shares=1", "cpu.weight=1"},
		{"most shares", isolation.Resources{CPUShares: 262144}, "cpu.shares=262144", "cpu.weight=10000"},
		{"quota", isolation.Resources{CPUQuota: 5000}, "cpu.cfs_quota_us=5000", "cpu.max=5000 100000"},
		{"period", isolation.Resources{CPUPeriod: 7000}, "cpu.cfs_period_us=7000", "cpu.max=max 7000"},
		{"quota and period", isolation.Resources{CPUQuota: 5000, CPUPeriod: 7000}, "cpu.cfs_period_us=7000 cpu.cfs_quota_us=5000", "cpu.max=5000 7000"},
		{"no quota", isolation.Resources{CPUQuota: -1}, "cpu.cfs_quota_us=-1", "cpu.max=max 100000"},
		{"processors", isolation.Resources{CPUSetCPUs: "0-1", CPUSetMems: "0"}, "cpuset.cpus=0-1 cpuset.mems=0", "cpuset.cpus=0-1 cpuset.mems=0"},
	} {
		for v2, want := range map[bool]string{false: c.v1, true: c.v2} {
			var got []string
			for _, controller := range controllers() {
				for _, s := range controller.settings(v2, c.limits) {
					got = append(got, s.file+"="+s.value)
				}
			}
			if got := strings.Join(got, " "); got != want {
				t.Errorf("%s, version 2: %v: got %q, want %q", c.name, v2, got, want)
			}
		}
	}
}

func TestHierarchyPath(t *testing.T) {
	mount := t.TempDir()
	for _, dir := range []string{"memory/a/b", "cpu", "x"} {
		if err := os.MkdirAll(filepath.Join(mount, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h := &hierarchies{mount: mount, own: "3:memory:/a/b\n2:cpu,cpuacct:/on/the/node\n0::/x\n"}
	for controller, want := range map[string]string{"memory": "memory/a/b", "cpu": "cpu", "pids": "pids", "": "x"} {
		if got := h.path(controller, controller); got != filepath.Join(mount, want) {
			t.Errorf("of %q: %s, want %s", controller, got, want)
		}
	}
	if got := below("/r", "../a//b/"); !slices.Equal(got, []string{"/r", "/r/a", "/r/a/b"}) {
		t.Errorf("below: %q", got)
	}
}

// TestCgroupOfVersion2 moves a process into a group of version 2 without limits, which any
// machine can do whose controllers are all in hierarchies of version 1.
func TestCgroupOfVersion2(t *testing.T) {
	var h *hierarchies
	for _, mount := range []string{cgroups, cgroups + "/unified"} {
		candidate := &hierarchies{mount: mount, own: ""}
		if candidate.unified() {
			h = candidate
		}
	}
	if h == nil {
		t.Skip("version 2 of control groups is not mounted")
	}
	g, err := newCgroup(h, "b", &isolation.Process{CgroupParent: "/slipwaytest-v2/sub"})
	var refused *isolation.UnsupportedError
	if errors.As(err, &refused) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "read go; cat /proc/self/cgroup")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err = g.Add(cmd.Process.Pid)
	if _, writeErr := stdin.Write([]byte("go\n")); errors.Join(err, writeErr, cmd.Wait()) != nil {
		t.Errorf("%v, %v", err, writeErr)
	}
	if !strings.Contains(out.String(), "0::/slipwaytest-v2/sub/slipway-run-") {
		t.Errorf("it was in\n%s", out.String())
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(h.mount + "/slipwaytest-v2"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the parent that was made is still there: %v", err)
	}
}

func TestReadOnlyCgroupsAreRefused(t *testing.T) {
	h := &hierarchies{mount: "/proc/self/fdinfo", own: ""} // where nobody can make a directory
	_, err := newCgroup(h, "b", &isolation.Process{Resources: &isolation.Resources{Memory: 1 << 20}})
	var refused *isolation.UnsupportedError
	if !errors.As(err, &refused) || !strings.Contains(refused.Reason, "set resources.limits of the pod instead") {
		t.Errorf("error is %v", err)
	}
	var none *Cgroup
	if err := errors.Join(none.Add(1), none.Remove()); err != nil || none.OOMKills() != 0 {
		t.Error("a RUN without limits has a group")
	}
}
