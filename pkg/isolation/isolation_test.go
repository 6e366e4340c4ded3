package isolation_test

import (
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
)

func TestExitError(t *testing.T) {
	args := []string{"/bin/sh", "-c", "x"}
	for want, e := range map[string]*isolation.ExitError{
		`process "/bin/sh -c x" did not complete successfully: exit code: 3`:              {Code: 3, Args: args},
		`process "/bin/sh -c x" was killed by signal 9 (killed), exit code: 137`:          {Code: 137, Signal: 9, Args: args},
		`process "/bin/sh -c x" was killed: out of memory (exit code: 137)`:               {Code: 137, Signal: 9, OOM: true, Args: args},
		`process "/bin/sh -c x" could not be started: exec format error (exit code: 126)`: {Code: 126, Args: args, Err: syscall.ENOEXEC},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestHostsFile(t *testing.T) {
	got := string(isolation.HostsFile("h", []isolation.Host{{Name: "db", IP: "10.0.0.1"}, {Name: "db", IP: "fe80::1"}}))
	want := "127.0.0.1\tlocalhost h\n::1\tlocalhost ip6-localhost ip6-loopback\n10.0.0.1\tdb\nfe80::1\tdb\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDefaultCapabilities(t *testing.T) {
	const docker = 0xa80425fb // CapBnd of a process in a container that Docker started
	if got := isolation.DefaultCapabilities(); got != docker {
		t.Errorf("got %#x, want %#x", got, docker)
	}
	if isolation.DefaultCapabilities().Has(21) || !isolation.DefaultCapabilities().Has(0) {
		t.Error("Has is wrong about CAP_SYS_ADMIN or CAP_CHOWN")
	}
}
