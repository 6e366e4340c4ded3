package host

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*isolation.Process)
		want   string // of the error; "" for none
	}{
		{"good", func(*isolation.Process) {}, ""},
		{"no command", func(p *isolation.Process) { p.Args = nil }, "no command"},
		{"zero byte in an argument", func(p *isolation.Process) { p.Args = append(p.Args, "a\x00b") }, "zero byte"},
		{"zero byte in a variable", func(p *isolation.Process) { p.Env = []string{"A=\x00"} }, "zero byte"},
		{"relative directory", func(p *isolation.Process) { p.Cwd = "a" }, "not absolute"},
		{"no network that is known", func(p *isolation.Process) { p.Network = 9 }, "unknown network 9"},
		{"mount over the root", func(p *isolation.Process) { p.Mounts[0].Target = "/a/.." }, "not an absolute path below /"},
		{"relative mount", func(p *isolation.Process) { p.Mounts[0].Target = "a" }, "not an absolute path below /"},
		{"cache without a directory", func(p *isolation.Process) { p.Mounts[1].HostDir = "" }, "no directory"},
		{"agent without a socket", func(p *isolation.Process) { p.Mounts[2].HostSocket = "" }, "no socket"},
		{"mount of no kind", func(p *isolation.Process) { p.Mounts[0].Type = 0 }, "unknown type 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &isolation.Process{Args: []string{"true"}, Cwd: "/", Mounts: []isolation.Mount{
				{Type: isolation.MountBind, Target: "/b"},
				{Type: isolation.MountCache, Target: "/c", HostDir: "/cache"},
				{Type: isolation.MountSSH, Target: "/s", HostSocket: "/socket"},
			}}
			c.change(p)
			switch err := Check(p); {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error is %v, want it to contain %q", err, c.want)
			}
		})
	}
}

func TestRlimits(t *testing.T) {
	limit := func(name string, soft, hard int64) []isolation.Ulimit {
		return []isolation.Ulimit{{Name: name, Soft: soft, Hard: hard}}
	}
	got, err := Rlimits("b", append(limit("nofile", 10, 20), limit("core", -1, -1)...), true)
	if err != nil {
		t.Fatal(err)
	}
	want := []supervisor.Rlimit{
		{Resource: unix.RLIMIT_NOFILE, Soft: 10, Hard: 20},
		{Resource: unix.RLIMIT_CORE, Soft: unix.RLIM_INFINITY, Hard: unix.RLIM_INFINITY},
	}
	if !slices.Equal(got, want) {
		t.Errorf("limits are %v, want %v", got, want)
	}
	if _, err := Rlimits("b", limit("nofiles", 1, 1), true); err == nil || !strings.Contains(err.Error(), "unknown limit") {
		t.Errorf("error is %v", err)
	}
	if _, err := Rlimits("b", limit("nofile", -1, 5), true); err == nil || !strings.Contains(err.Error(), "above the hard one") {
		t.Errorf("error is %v", err)
	}
	// No pod has this limit unlimited: the kernel's own (fs.nr_open) is finite.
	var refused *isolation.UnsupportedError
	if _, err := Rlimits("b", limit("nofile", -1, -1), false); !errors.As(err, &refused) || refused.Backend != "b" {
		t.Errorf("error is %v, want an UnsupportedError", err)
	}
}
