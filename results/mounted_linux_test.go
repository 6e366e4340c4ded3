package results

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Kubernetes mounts the file for the termination message; a mount point cannot be
// replaced.
func TestWriteToMountedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "termination-log")
	writeFile(t, path, "old and longer than a digest: "+digest)
	if err := syscall.Mount(path, path, "", syscall.MS_BIND, ""); err != nil {
		t.Skipf("mounting needs CAP_SYS_ADMIN: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(path, 0); err != nil {
			t.Error(err)
		}
	}()
	files := Files{DigestFile: path, NameDigestFile: dir + "/names"}
	if _, err := files.Write(t.Context(), pushed); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir); len(got) != 2 || got["termination-log"] != digest {
		t.Errorf("files %q", got)
	}

	// A later failure leaves the file, but nothing in it.
	files = Files{DigestFile: path, NameDigestFile: "/dev/stdout", Stdout: closedWriter{}}
	if _, err := files.Write(t.Context(), pushed); err == nil {
		t.Fatal("writing to a closed pipe succeeded")
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("the mounted file is %v, error %v", info, err)
	}
}
