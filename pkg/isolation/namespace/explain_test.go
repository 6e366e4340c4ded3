package namespace

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/initproc"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

func TestExplain(t *testing.T) {
	inUserNamespace := mode{userNamespace: true, capabilities: isolation.DefaultCapabilities()}
	privileged := mode{capabilities: ^isolation.Capabilities(0)}
	making := func(errno unix.Errno) error {
		return &namespaceError{&os.PathError{Op: "fork/exec", Path: "/proc/self/exe", Err: errno}}
	}
	for _, c := range []struct {
		name   string
		mode   mode
		report *supervisor.Report
		err    error
		want   string
	}{
		{"limit of the node", inUserNamespace, nil, making(unix.ENOSPC), "max_user_namespaces"},
		{"kernel without user namespaces", inUserNamespace, nil, making(unix.EINVAL), "lacks user namespaces"},
		{"forbidden although the capabilities are there", inUserNamespace, nil, making(unix.EPERM), "sysctl"},
		{"privileged, but forbidden", privileged, nil, making(unix.EPERM), "sysctl"},
		{"capabilities missing", mode{userNamespace: true}, nil, making(unix.EPERM), "SETUID, SETGID, SETFCAP"},
		{"old kernel", privileged, &supervisor.Report{Step: "mounting /sys", Error: "x", Errno: unix.ENOSYS}, nil, "Linux 5.12"},
		{"AppArmor", inUserNamespace, &supervisor.Report{Step: initproc.StepRoot, Error: "x", Errno: unix.EACCES}, nil, "appArmorProfile"},
		{"state directory on overlayfs", inUserNamespace, &supervisor.Report{Step: initproc.StepRoot, Error: "x", Errno: unix.EINVAL}, nil, "on a volume"},
		{"mounting forbidden", inUserNamespace, &supervisor.Report{Step: initproc.StepRoot, Error: "x", Errno: unix.EPERM}, nil, "forbids it"},
		{"anything else", privileged, &supervisor.Report{Step: "some step", Error: "no luck", Errno: unix.EIO}, nil, "some step failed: no luck"},
		{"an error of ours", privileged, nil, fmt.Errorf("disk full"), "disk full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := explain(c.mode, c.report, c.err); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want it to contain %q", got, c.want)
			}
		})
	}
}

func TestIdentityMap(t *testing.T) {
	path := t.TempDir() + "/uid_map"
	if err := os.WriteFile(path, []byte("         0    1000000      65536\n     70000        500          1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ids, err := identityMap(path)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[uint32]bool{0: true, 65535: true, 65536: false, 69999: false, 70000: true, 70001: false, 4294967295: false} {
		if got := maps(ids, id); got != want {
			t.Errorf("id %d is mapped: %v, want %v", id, got, want)
		}
	}
	for _, m := range ids {
		if m.ContainerID != m.HostID {
			t.Errorf("%d is mapped to %d", m.ContainerID, m.HostID)
		}
	}
	if err := os.WriteFile(path, []byte("0 x 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := identityMap(path); err == nil {
		t.Error("a line that is no map gives no error")
	}
}
