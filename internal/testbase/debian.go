package testbase

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// DebianSuite is the release that Debian gives.
const DebianSuite = "bookworm"

// Debian is the path of a tar with a minimal Debian root filesystem ("minbase") and further packages. It is made once on a machine, by root with
// mmdebstrap, and kept in the user's cache directory.
func Debian(ctx context.Context, packages ...string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	name := strings.Join(append([]string{"debian", DebianSuite}, packages...), "-")
	kept := filepath.Join(cache, "slipway-tests", name+".tar")
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
	// Nobody needs the files after a crash, so dpkg does not wait for the disk.
	args := []string{
		"--quiet", "--variant=minbase", "--mode=root",
		"--dpkgopt=force-unsafe-io", `--customize-hook=rm "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"`,
	}
	if len(packages) > 0 {
		args = append(args, "--include="+strings.Join(packages, ","))
	}
	cmd := exec.CommandContext(ctx, "mmdebstrap", append(args, DebianSuite, made)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("making a Debian root filesystem: %w\n%s", err, out)
	}
	return kept, os.Rename(made, kept)
}

// DebianHosts are the servers that the package manager of Debian's root filesystem asks.
func DebianHosts() []string { return []string{"deb.debian.org", "security.debian.org"} }
