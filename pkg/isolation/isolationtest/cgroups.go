package isolationtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// cgroups checks that limits of control groups hold where they can be set and are refused elsewhere.
func (s *suite) cgroups(t *testing.T) {
	t.Run("out of memory", s.outOfMemory)
	t.Run("parent", s.cgroupParent)
	t.Run("limit that makes no sense", func(t *testing.T) {
		p, _ := process(s.rootfs, "/bin/true")
		p.Resources = &isolation.Resources{CPUSetCPUs: "many"}
		_, err := s.backend.Run(t.Context(), p)
		unsupported(t, err)
	})
}

// runLimited runs p, and skips the test where limits cannot be set.
func (s *suite) runLimited(t *testing.T, p *isolation.Process) error {
	t.Helper()
	_, err := s.backend.Run(t.Context(), p)
	var refused *isolation.UnsupportedError
	if errors.As(err, &refused) {
		if c, ok := s.backend.(isolation.Checker); !ok || c.Check(p) == nil {
			t.Errorf("Check does not refuse it: %v", err)
		}
		t.Skip(err)
	}
	return err
}

// outOfMemory has a process use more memory than its group may.
func (s *suite) outOfMemory(t *testing.T) {
	hungry := func(limit int64) *isolation.Process {
		p, _ := process(s.rootfs, "/bin/sh", "-c", "head -c 100000000 /dev/zero | tail -c 100000000 >/dev/null")
		p.Resources = &isolation.Resources{Memory: limit, MemorySwap: swap(limit)}
		return p
	}
	err := s.runLimited(t, hungry(32<<20))
	var exit *isolation.ExitError
	if !errors.As(err, &exit) || !exit.OOM || exit.Code != 137 {
		t.Errorf("with 32 MiB, it ended with %v", err)
	}
	if err := s.runLimited(t, hungry(1<<30)); err != nil {
		t.Errorf("with 1 GiB, it ended with %v", err)
	}
}

// swap is the limit for memory and swap together, where there is swap.
func swap(limit int64) int64 {
	data, err := os.ReadFile("/proc/swaps")
	if err != nil || strings.Count(string(data), "\n") < 2 {
		return 0
	}
	return limit
}

// cgroupParent reads which groups a process is in, and checks that they are gone afterwards.
func (s *suite) cgroupParent(t *testing.T) {
	p, out := process(s.rootfs, "/bin/sh", "-c", "cat /proc/self/cgroup")
	parent := fmt.Sprintf("slipwaytest-%d", os.Getpid())
	p.CgroupParent = parent + "/sub"
	p.Resources = &isolation.Resources{
		CPUShares: 512, CPUPeriod: 50_000, CPUQuota: 25_000, CPUSetCPUs: "0", CPUSetMems: "0",
	}
	if err := s.runLimited(t, p); err != nil {
		t.Fatal(err)
	}
	// Below the group of the test itself, which in a container is not the root.
	if !strings.Contains(out.String(), "/"+parent+"/sub/slipway-run-") {
		t.Errorf("it is in the groups\n%s", out)
	}
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // a group of somebody else that ended meanwhile
			return nil
		}
		if err == nil && entry.Name() == parent {
			t.Errorf("group %s was left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
