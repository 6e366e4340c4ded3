// Package doctor finds out what a pod allows: which isolation backends work in it, and if not,
// what exactly is missing. It finds out by trying, not by guessing; the facts that it lists
// beside are there to understand the answer.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/inplace"
	"github.com/slipway-build/slipway/pkg/isolation/namespace"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox"
	"github.com/slipway-build/slipway/pkg/state"
)

// Report is the outcome of an examination.
type Report struct {
	// Backends are all isolation backends, in the order in which --isolation=auto
	// tries them.
	Backends []Backend `json:"backends"`
	Facts    []Fact    `json:"facts"`
}

// Backend says whether one isolation backend works here.
type Backend struct {
	Name  string `json:"name"`
	Works bool   `json:"works"`
	// Reason is what is missing; "" if it works.
	Reason string `json:"reason,omitempty"`
}

// Fact is something about the pod that matters to isolation.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Works reports whether any backend does.
func (r *Report) Works() bool {
	for _, b := range r.Backends {
		if b.Works {
			return true
		}
	}
	return false
}

// Examine tries all backends with the state directory that builds would use.
func Examine(ctx context.Context, stateDir string) (*Report, error) {
	st, noState := state.Open(stateDir)
	if noState == nil {
		defer func() { _ = st.Close() }() // what could go wrong with it has gone wrong in the backends
	}
	r := &Report{}
	for _, b := range []struct {
		name string
		try  func() error
	}{
		{namespace.Name, func() error { return probeNamespace(ctx, st) }},
		{inplace.Name, func() error { return inplace.Probe(ctx) }},
		{sandbox.Name, func() error { return sandbox.Probe(ctx, st) }},
	} {
		if noState != nil && b.name != inplace.Name {
			r.Backends = append(r.Backends, Backend{Name: b.name, Reason: noState.Error()})
			continue
		}
		v, err := verdict(b.name, b.try())
		if err != nil {
			return nil, err
		}
		if v.Works && noState != nil {
			v = Backend{Name: b.name, Reason: noState.Error()}
		}
		r.Backends = append(r.Backends, v)
	}
	r.Facts = facts(stateDir)
	return r, nil
}

// verdict turns the answer of a backend's probe into a line of the report.
func verdict(name string, err error) (Backend, error) {
	var missing *isolation.UnsupportedError
	switch {
	case err == nil:
		return Backend{Name: name, Works: true}, nil
	case errors.As(err, &missing):
		return Backend{Name: name, Reason: missing.Reason}, nil
	}
	return Backend{}, err
}

func probeNamespace(ctx context.Context, st *state.Dir) error {
	dir, err := st.TempDir("doctor-")
	if err != nil {
		return err
	}
	return namespace.Probe(ctx, dir)
}

// facts lists what is known about the pod. What can't be read says so.
func facts(stateDir string) []Fact {
	return []Fact{
		{"platform", runtime.GOOS + "/" + runtime.GOARCH},
		{"kernel", kernel()},
		{"user", fmt.Sprintf("uid %d, gid %d", os.Geteuid(), os.Getegid())},
		{"user namespace", userNamespace()},
		{"capabilities", capabilities()},
		{"seccomp", seccomp()},
		{"no new privileges", statusField("NoNewPrivs", map[string]string{"0": "off", "1": "on: setuid programs and file capabilities do nothing in RUN"})},
		{"AppArmor or SELinux", readFact("/proc/self/attr/current")},
		{"user namespaces allowed", readFact("/proc/sys/user/max_user_namespaces")},
		{"root filesystem", mountOf("/")},
		{"state directory", stateDir + ", " + mountOf(existing(stateDir))},
	}
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return unknown(err)
	}
	return unix.ByteSliceToString(u.Release[:])
}

// userNamespace says how user ids are mapped, which is how hostUsers: false shows.
func userNamespace() string {
	data, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return unknown(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for i, l := range lines {
		lines[i] = strings.Join(strings.Fields(l), " ")
	}
	if len(lines) == 1 && lines[0] == "0 0 4294967295" {
		return "the host's"
	}
	return "its own: " + strings.Join(lines, ", ")
}

func capabilities() string {
	caps, err := capability.NewPid2(0)
	if err == nil {
		err = caps.Load()
	}
	if err != nil {
		return unknown(err)
	}
	var names []string
	last, err := capability.LastCap()
	if err != nil {
		return unknown(err)
	}
	for c := capability.Cap(0); c <= last; c++ {
		if caps.Get(capability.EFFECTIVE, c) {
			names = append(names, c.String())
		}
	}
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > int(last)-2:
		return "(nearly) all: privileged"
	}
	return strings.Join(names, " ")
}

func seccomp() string {
	return statusField("Seccomp", map[string]string{"0": "no filter", "1": "strict", "2": "a filter, as RuntimeDefault has"})
}

// statusField reads a field of /proc/self/status.
func statusField(name string, meaning map[string]string) string {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return unknown(err)
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			value = strings.TrimSpace(value)
			if m, ok := meaning[value]; ok {
				return m
			}
			return value
		}
	}
	return "not known to this kernel"
}

func readFact(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return unknown(err)
	}
	if s := strings.Trim(string(data), "\x00\n "); s != "" {
		return s
	}
	return "none"
}

// existing is the nearest directory above path that exists.
func existing(path string) string {
	for path != "/" {
		if _, err := os.Stat(path); err == nil {
			return path
		}
		path = filepath.Dir(path)
	}
	return path
}

// mountOf describes the filesystem that path is on.
func mountOf(path string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return unknown(err)
	}
	kinds := map[int64]string{
		unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs",
		unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs", unix.NFS_SUPER_MAGIC: "nfs",
	}
	kind, ok := kinds[int64(fs.Type)]
	if !ok {
		kind = fmt.Sprintf("filesystem type %#x", fs.Type)
	}
	access := "writable"
	if fs.Flags&unix.ST_RDONLY != 0 {
		access = "read-only"
	}
	return fmt.Sprintf("%s, %s, %d MiB free", kind, access, fs.Bavail*uint64(fs.Bsize)>>20)
}

func unknown(err error) string { return "unknown: " + err.Error() }
