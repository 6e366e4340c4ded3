package inplace_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/inplace"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
)

// throwaway names, in the environment of a test that runs in a root directory of its own, the
// directory that this is made in.
const throwaway = "SLIPWAY_TEST_THROWAWAY_ROOT"

// inPod is the value of throwaway in a container of the pod harness, whose root is one already.
const inPod = "pod"

// volume is where the throwaway root has a filesystem with the files of the test.
const volume = "/dev/volume"

func TestMain(m *testing.M) {
	if dir := os.Getenv(throwaway); dir != "" && dir != inPod {
		if err := enterThrowaway(dir); err != nil {
			fmt.Fprintln(os.Stderr, "making the throwaway root:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// inThrowaway runs a test of this binary again, in new mount and PID namespaces whose root is an
// overlay that looks like that of a pod, and returns false; in there it returns true. The root of
// the machine is nowhere in it.
func inThrowaway(tb testing.TB) bool {
	tb.Helper()
	if os.Getenv(throwaway) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		tb.Skip("needs root")
	}
	dir := tb.TempDir()
	podImage(tb, dir)
	args := []string{"-test.run=^" + tb.Name() + "$", "-test.v", "-test.timeout=5m"}
	if _, ok := tb.(*testing.B); ok {
		args = []string{"-test.run=^$", "-test.bench=^" + tb.Name() + "$", "-test.timeout=5m"}
	}
	for _, a := range os.Args[1:] { // the subtests that were asked for
		if p, ok := strings.CutPrefix(a, "-test.run="); ok && strings.Contains(p, "/") {
			args[0] = a
		}
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = []string{throwaway + "=" + dir, "PATH=" + volume + "/bin", "TMPDIR=" + volume + "/tmp"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	tb.Logf("%s", out)
	if err != nil {
		tb.Error(err)
	}
	if _, ok := tb.(*testing.T); ok && !strings.Contains(string(out), "--- PASS: "+tb.Name()+" ") {
		tb.Errorf("%s did not pass", tb.Name())
	}
	return false
}

// podImage makes the lower directory of the overlay, and the volume.
func podImage(tb testing.TB, dir string) {
	tb.Helper()
	isolationtest.Volume(tb, filepath.Join(dir, "volume"))
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		tb.Skip("needs a static busybox (package busybox-static)")
	}
	for _, name := range []string{
		"lower/bin", "lower/dev", "lower/etc/deep/er", "lower/proc", "lower/sys", "lower/tmp", "lower/usr/local/bin", "lower/var/run/secrets",
		"upper", "work", "root",
	} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	for name, data := range map[string]string{
		"lower/bin/busybox": string(program), "lower" + inplace.Marker: "", "lower/etc/passwd": "root:x:0:0::/:/bin/sh\n",
		"lower/etc/hosts": "", "lower/etc/hostname": "", "lower/etc/resolv.conf": "", "lower/etc/deep/er/file": "deep",
		"lower/usr/local/bin/slipway": "program", "lower/var/file": "x",
		"volume/hosts": "127.0.0.1\tlocalhost\n", "volume/hostname": "pod\n", "volume/resolv.conf": "nameserver 127.0.0.53\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("busybox", filepath.Join(dir, "lower/bin/sh")), os.Chmod(filepath.Join(dir, "lower/tmp"), 0o1777|os.ModeSticky)); err != nil {
		tb.Fatal(err)
	}
}

// enterThrowaway makes the root that podImage has prepared and enters it for good.
func enterThrowaway(dir string) error {
	root := filepath.Join(dir, "root")
	in := func(name string) string { return filepath.Join(dir, name) }
	mount := func(source, target, fstype string, flags uintptr, data string) error {
		if err := unix.Mount(source, filepath.Join(root, target), fstype, flags, data); err != nil {
			return fmt.Errorf("mounting %s: %w", target, err)
		}
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	err := errors.Join(
		mount("overlay", "", "overlay", 0, "lowerdir="+in("lower")+",upperdir="+in("upper")+",workdir="+in("work")),
		mount("proc", "proc", "proc", 0, ""),
		mount("sys", "sys", "sysfs", unix.MS_RDONLY, ""),
		mount("tmpfs", "dev", "tmpfs", 0, "mode=755"),
		mount(in("volume/hosts"), "etc/hosts", "", unix.MS_BIND, ""),
		mount(in("volume/hostname"), "etc/hostname", "", unix.MS_BIND, ""),
		mount(in("volume/resolv.conf"), "etc/resolv.conf", "", unix.MS_BIND, ""),
		mount("tmpfs", "var/run/secrets", "tmpfs", unix.MS_RDONLY, ""),
	)
	for _, name := range []string{"dev/shm", "dev/pts", "dev/volume"} {
		err = errors.Join(err, os.Mkdir(filepath.Join(root, name), 0o755))
	}
	err = errors.Join(err,
		mount("tmpfs", "dev/shm", "tmpfs", 0, "mode=1777,size=64m"),
		mount("devpts", "dev/pts", "devpts", 0, "newinstance"),
		mount(in("volume"), "dev/volume", "", unix.MS_BIND, ""),
	)
	for name, minor := range map[string]uint32{"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9} {
		path := filepath.Join(root, "dev", name)
		err = errors.Join(err, unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, minor))), os.Chmod(path, 0o666))
	}
	err = errors.Join(err, unix.Mknod(filepath.Join(root, "dev/tty"), unix.S_IFCHR|0o666, int(unix.Mkdev(5, 0))))
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		err = errors.Join(err, os.Symlink(fmt.Sprintf("/proc/self/fd/%d", i), filepath.Join(root, "dev", name)))
	}
	err = errors.Join(err, os.Symlink("/proc/self/fd", filepath.Join(root, "dev/fd")))
	if err != nil {
		return err
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return err
	}
	return os.Chdir("/")
}
