// Package testbase makes small base images for tests and demonstrations out of what the machine
// has: Debian's static busybox, or a static program compiled here. No image registry on
// the internet is involved.
package testbase

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Program is a static executable that is many commands, chosen by the name it is called under.
type Program struct {
	// Name is the file name in /bin.
	Name string
	// Data is the executable.
	Data []byte
	// Commands are the names under which it can be called.
	Commands []string
}

// Find gives the machine's busybox, or if there is none (or only one that needs shared
// libraries) the program of the package toolbox, compiled with the Go tool that is in
// PATH.
func Find(ctx context.Context) (*Program, error) {
	p, err := busybox(ctx)
	if errors.Is(err, exec.ErrNotFound) {
		return toolbox(ctx)
	}
	return p, err
}

// busybox gives the machine's static busybox; without one the error matches exec.ErrNotFound.
func busybox(ctx context.Context) (*Program, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("looking for busybox: %w", err)
	}
	static, err := isStatic(path)
	if err != nil {
		return nil, err
	}
	if !static {
		return nil, fmt.Errorf("%s is not static: %w", path, exec.ErrNotFound)
	}
	return read(ctx, "busybox", path)
}

// read takes an executable that lists its commands.
func read(ctx context.Context, name, path string) (*Program, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list, err := exec.CommandContext(ctx, path, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("asking %s for its commands: %w", path, err)
	}
	return &Program{Name: name, Data: data, Commands: strings.Fields(string(list))}, nil
}

// isStatic reports whether an executable runs without a dynamic linker.
func isStatic(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", path, err)
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }), nil
}

// toolbox compiles the package of that name.
func toolbox(ctx context.Context) (*Program, error) {
	dir, err := os.MkdirTemp("", "toolbox-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "toolbox")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", path,
		"github.com/slipway-build/slipway/internal/testbase/toolbox")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling toolbox: %w\n%s", err, out)
	}
	return read(ctx, "toolbox", path)
}
