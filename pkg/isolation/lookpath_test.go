package isolation_test

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
)

func TestLookPath(t *testing.T) {
	files := map[string]error{
		"/bin/sh": nil, "/usr/bin/sh": nil, "/bin/data": syscall.EACCES, "/usr/bin/data": nil,
		"/opt/tool": syscall.EACCES, "./here": nil, "dir/tool": nil,
	}
	check := func(path string) error {
		err, ok := files[path]
		if !ok {
			return syscall.ENOENT
		}
		return err
	}
	for _, c := range []struct {
		name, path, want string
		is               error
		code             int
	}{
		{name: "sh", path: "/usr/bin:/bin", want: "/usr/bin/sh"},
		{name: "sh", path: "/nowhere:/bin", want: "/bin/sh"},
		{name: "data", path: "/bin:/usr/bin", want: "/usr/bin/data"},
		{name: "here", path: "/bin:", want: "./here"},
		{name: "here", path: "::/bin", want: "./here"},
		{name: "/bin/sh", path: "", want: "/bin/sh"},
		{name: "dir/tool", path: "/bin", want: "dir/tool"},
		{name: "tool", path: "/opt:/bin", is: fs.ErrPermission, code: 126},
		{name: "/opt/tool", path: "/bin", is: fs.ErrPermission, code: 126},
		{name: "nothing", path: "/usr/bin:/bin", is: fs.ErrNotExist, code: 127},
		{name: "/no/thing", path: "/usr/bin:/bin", is: fs.ErrNotExist, code: 127},
		{name: "", path: "/bin", is: fs.ErrNotExist, code: 127},
	} {
		t.Run(fmt.Sprintf("%s in %s", c.name, c.path), func(t *testing.T) {
			env := []string{"PATH=/overridden", "X=PATH=/bin", "PATH=" + c.path}
			got, err := isolation.LookPath(c.name, env, check)
			if got != c.want || !errors.Is(err, c.is) {
				t.Errorf("got %q, %v; want %q, %v", got, err, c.want, c.is)
			}
			if err == nil {
				return
			}
			exit := isolation.StartError([]string{c.name}, err)
			if exit.Code != c.code || !errors.Is(exit, c.is) {
				t.Errorf("as the process's error it is %v with code %d, want %d", exit, exit.Code, c.code)
			}
		})
	}
}

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
