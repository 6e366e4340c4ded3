package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// lookPath finds the program that name stands for, as execvp(3) and Docker do: a name with a
// slash is a path; any other is looked for in the directories of PATH in env, where an empty one
// means the current directory. check says whether a path is an executable file for the
// process; its errors should match fs.ErrNotExist or fs.ErrPermission.
//
// Of a program that is there but cannot be executed, the error matches fs.ErrPermission;
// of one that is nowhere, fs.ErrNotExist.
func lookPath(name string, env []string, check func(path string) error) (string, error) {
	if strings.Contains(name, "/") {
		if err := check(name); err != nil {
			return "", fmt.Errorf("exec: %q: %w", name, err)
		}
		return name, nil
	}
	var denied error
	if name != "" {
		for _, dir := range strings.Split(getenv(env, "PATH"), ":") {
			if dir == "" {
				dir = "."
			}
			path := dir + "/" + name
			err := check(path)
			if err == nil {
				return path, nil
			}
			if errors.Is(err, fs.ErrPermission) && denied == nil {
				denied = fmt.Errorf("exec: %q: %w", path, err)
			}
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &notFoundError{name}
}

// notFoundError has the wording that users of Docker know.
type notFoundError struct{ name string }

func (e *notFoundError) Error() string {
	return fmt.Sprintf("exec: %q: executable file not found in $PATH", e.name)
}

func (e *notFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// getenv returns the value of a variable; of several, the last one counts.
func getenv(env []string, name string) string {
	value := ""
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && k == name {
			value = v
		}
	}
	return value
}

// startError says why a program could not be executed.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }

func (e *startError) Unwrap() error { return e.err }

// code is the one that shells and Docker use: 127 if the program does not exist, 126 if it cannot be
// executed.
func (e *startError) code() int {
	if errors.Is(e.err, fs.ErrNotExist) || errors.Is(e.err, syscall.ENOTDIR) {
		return 127
	}
	return 126
}
