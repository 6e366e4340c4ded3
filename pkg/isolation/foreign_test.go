package isolation

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestPrograms runs the programs of all architectures, by the emulators that are there.
func TestPrograms(t *testing.T) {
	for architecture, emulator := range map[string]string{
		"amd64": "qemu-x86_64-static", "386": "qemu-i386-static", "arm64": "qemu-aarch64-static", "arm": "qemu-arm-static",
		"riscv64": "qemu-riscv64-static", "ppc64le": "qemu-ppc64le-static", "s390x": "qemu-s390x-static",
		"mips64le": "qemu-mips64el-static", "loong64": "qemu-loongarch64-static",
	} {
		t.Run(architecture, func(t *testing.T) {
			if _, err := exec.LookPath(emulator); err != nil {
				t.Skipf("%s is not installed", emulator)
			}
			path := filepath.Join(t.TempDir(), "program")
			if err := os.WriteFile(path, machines()[architecture].program(), 0o700); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), emulator, path).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("it ended with %v: %s", err, out)
			}
		})
	}
}

// TestOwnProgram runs the program of this machine's own architecture by its kernel.
func TestOwnProgram(t *testing.T) {
	m, ok := machines()[runtime.GOARCH]
	if !ok {
		t.Skipf("there is no program for %s", runtime.GOARCH)
	}
	dir := t.TempDir()
	if err := tryProgram(t.Context(), dir, m.program()); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("there is %v left (%v)", left, err)
	}
}

func TestCheckArchitecture(t *testing.T) {
	if err := CheckArchitecture(t.Context(), t.TempDir(), runtime.GOARCH); err != nil {
		t.Error(err)
	}
	err := CheckArchitecture(t.Context(), t.TempDir(), "pdp11")
	var unsupported *UnsupportedError
	if !errors.As(err, &unsupported) || !strings.Contains(err.Error(), "RUN for pdp11 on "+runtime.GOARCH) || !strings.Contains(err.Error(), "BUILDPLATFORM") {
		t.Errorf("error is %v", err)
	}
	// A program that no kernel takes, in place of a machine without a handler.
	if err := tryProgram(t.Context(), t.TempDir(), []byte("\x7fELFnothing")); err == nil {
		t.Error("a broken program ran")
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	if err := CheckArchitecture(ctx, t.TempDir(), other); !errors.Is(err, stopped) {
		t.Errorf("error is %v, want %v", err, stopped)
	}
}
