package testbase

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// DebianSuite is the release that Debian gives.
const DebianSuite = "bookworm"

// Debian is the path of a tar with a minimal Debian root filesystem ("minbase"). It is made once on a machine, by root with mmdebstrap, and
// kept in the user's cache directory.
func Debian(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	kept := filepath.Join(cache, "slipway-tests", "debian-"+DebianSuite+".tar")
	if _, err := os.Stat(kept); err == nil {
		return kept, nil
	}
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return "", err
	}
	// Others may make it at the same time; each makes a whole one.
	fresh, err := os.MkdirTemp(filepath.Dir(kept), "making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	made := filepath.Join(fresh, "root.tar")
	cmd := exec.CommandContext(ctx, "mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", DebianSuite, made)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("making a Debian root filesystem: %w\n%s", err, out)
	}
	return kept, os.Rename(made, kept)
}
