package disk

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUse(t *testing.T) {
	if _, err := exec.LookPath("mkfs.ext4"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and mkfs.ext4")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("this machine has no loop devices")
	}
	dir, failure := t.TempDir(), errors.New("failed")
	for range 2 {
		err := Use(t.Context(), dir, func(mounted string) error {
			entries, err := os.ReadDir(mounted)
			if err != nil || len(entries) != 1 { // lost+found
				t.Errorf("the new filesystem has %v, %v", entries, err)
			}
			var st unix.Statfs_t
			if err := unix.Statfs(mounted, &st); err != nil || st.Type != unix.EXT4_SUPER_MAGIC {
				t.Errorf("its type is %x, %v", st.Type, err)
			}
			if err := os.WriteFile(filepath.Join(mounted, "left"), []byte("x"), 0o600); err != nil {
				t.Error(err)
			}
			return failure
		})
		if !errors.Is(err, failure) {
			t.Fatalf("error is %v, want that of the function", err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "disk")); err != nil || len(entries) > 0 {
		t.Errorf("what was mounted is still there: %v, %v", entries, err)
	}
}
