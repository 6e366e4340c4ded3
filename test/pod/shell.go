package pod

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Shell is a running pod that does what it is told to, one thing after the other.
type Shell struct {
	work    Volume
	scripts io.Writer // takes lines, each the path of a script
}

// StartShell starts a pod with Slipway's debug image, which has a shell, instead of what spec runs. work is a volume for
// scripts and whatever else. At the end of the test, the pod's root has to be as it was.
func StartShell(t testing.TB, spec Spec, work Volume) *Shell {
	t.Helper()
	spec.Rootfs, spec.Args = SlipwayDebugRootfs(t), []string{"sh", "-c", `while read -r script; do sh "$script"; done`}
	spec.Volumes = append(spec.Volumes, work)
	spec.DiffRoot = true
	stdin, scripts := io.Pipe()
	spec.Stdin = stdin
	p := Start(t, spec)
	t.Cleanup(func() {
		if err := scripts.Close(); err != nil {
			t.Error(err)
		}
		result := p.Wait()
		if result.ExitCode != 0 {
			t.Errorf("the container ended with %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
		}
		for _, change := range BesideTrees(result.RootDiff) {
			t.Errorf("the container's root changed: %s", change)
		}
	})
	return &Shell{work, scripts}
}

// Run runs a program in a directory below the shell's volume, which gets files of its own, and gives its exit code and
// what it wrote to its standard error. env are variables, NAME=VALUE.
func (s *Shell) Run(t testing.TB, dir string, env []string, limit time.Duration, args ...string) (code int, stderr string) {
	t.Helper()
	host := filepath.Join(s.work.Host, dir)
	var script strings.Builder
	fmt.Fprintf(&script, "cd %s\n", quoted(path.Join(s.work.Path, dir)))
	for _, variable := range env {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&script, "export %s=%s\n", name, quoted(value))
	}
	for _, arg := range args {
		script.WriteString(quoted(arg) + " ")
	}
	script.WriteString("</dev/null 2>stderr\necho $? >code.new\nmv code.new code\n")
	if err := os.WriteFile(filepath.Join(host, "script"), []byte(script.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(s.scripts, path.Join(s.work.Path, dir, "script")); err != nil {
		t.Fatal(err)
	}
	code, err := strconv.Atoi(strings.TrimSpace(awaitFile(t, filepath.Join(host, "code"), limit)))
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(host, "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	return code, string(log)
}

// quoted gives text as one word of the shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// awaitFile gives the content of a file that is going to be there.
func awaitFile(t testing.TB, file string, limit time.Duration) string {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		data, err := os.ReadFile(file)
		if err == nil {
			return string(data)
		}
		if !errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
			t.Fatalf("the program does not end: %v", err)
		}
	}
}
