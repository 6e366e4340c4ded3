package isolationtest

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// SuiteVolume is where containers that run the suite have the [Volume].
const SuiteVolume = "/suite"

// suiteName is the name that [Volume] gives to the test's own binary.
const suiteName = "suite.test"

// SuiteArgs is the command of a container that runs TestInPods of the test's own binary.
func SuiteArgs() []string {
	return []string{SuiteVolume + "/" + suiteName, "-test.v", "-test.run=^TestInPods$"}
}

// SuiteEnv is the environment of such a container, with a variable that tells the test that it is in there.
func SuiteEnv(variable string) []string {
	return []string{variable, "PATH=" + SuiteVolume + "/bin", "TMPDIR=" + SuiteVolume + "/tmp"}
}

// Volume fills the directory dir with what the suite needs in a container that has nothing but a busybox in
// /bin: this test's own binary, and in the directory bin a program "go" that gives the suite its helper, which
// is compiled here. There is a directory tmp for everybody, too.
func Volume(tb testing.TB, dir string) {
	tb.Helper()
	needStatic(tb)
	for name, mode := range map[string]os.FileMode{"": 0o755, "bin": 0o755, "tmp": 0o777} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, mode)); err != nil {
			tb.Fatal(err)
		}
	}
	const script = "#!/bin/busybox sh\nexec /bin/busybox cp \"${0%/bin/go}/helper\" \"$3\"\n"
	if err := os.WriteFile(filepath.Join(dir, "bin/go"), []byte(script), 0o755); err != nil {
		tb.Fatal(err)
	}
	buildHelper(tb, filepath.Join(dir, "helper"))
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, suiteName), self, 0o755); err != nil {
		tb.Fatal(err)
	}
}

func buildHelper(tb testing.TB, path string) {
	tb.Helper()
	cmd := exec.Command("go", "build", "-o", path, "github.com/slipway-build/slipway/pkg/isolation/isolationtest/testdata/helper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("building the helper: %v\n%s", err, out)
	}
}

// needStatic skips what executes the test binary in a root that has no C library.
func needStatic(tb testing.TB) {
	tb.Helper()
	f, err := elf.Open("/proc/self/exe")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			tb.Skip("this test binary is linked dynamically (cgo, race detector) and cannot run in a root without a C library")
		}
	}
}

// PodRootfs makes the root filesystem of an image that has a shell and nothing else.
func PodRootfs(t *testing.T, dir string) {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs a static busybox (package busybox-static)")
	}
	for _, name := range []string{"bin", "dev", "etc", "proc", "sys", "tmp", SuiteVolume, "var/run/secrets"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string]string{
		"bin/busybox": string(busybox), "etc/passwd": "root:x:0:0::/:/bin/sh\n", "etc/hosts": "", "etc/hostname": "", "etc/resolv.conf": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("busybox", filepath.Join(dir, "bin/sh")); err != nil {
		t.Fatal(err)
	}
}
