package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
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
			got, err := lookPath(c.name, env, check)
			if got != c.want || !errors.Is(err, c.is) {
				t.Errorf("got %q, %v; want %q, %v", got, err, c.want, c.is)
			}
			if err == nil {
				return
			}
			if start := (&startError{err}); start.code() != c.code || !errors.Is(start, c.is) {
				t.Errorf("as the process's error it is %v with code %d, want %d", start, start.code(), c.code)
			}
		})
	}
}
