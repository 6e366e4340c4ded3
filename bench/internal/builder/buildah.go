package builder

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/bench/internal/usage"
)

// buildah is Debian's, as root, with overlayfs and its isolation "chroot".
type buildah struct{}

// Buildah builds with the program of that name.
func Buildah() Builder { return buildah{} }

// Name implements Builder.
func (buildah) Name() string { return "buildah" }

// Build implements Builder.
func (b buildah) Build(ctx context.Context, j *Job) (usage.Usage, error) {
	return inGroup(func(g *usage.Group) (usage.Usage, error) { return b.build(ctx, j, g) }, "buildah")
}

func (buildah) build(ctx context.Context, j *Job, g *usage.Group) (u usage.Usage, err error) {
	dir := j.Disk
	// Buildah leaves the mount point of its storage mounted.
	defer func() { _ = unix.Unmount(filepath.Join(dir, "root", "overlay"), unix.MNT_DETACH) }()
	policy := filepath.Join(dir, "policy.json")
	if err := os.WriteFile(policy, []byte(`{"default": [{"type": "insecureAcceptAnything"}]}`), 0o600); err != nil {
		return u, err
	}
	global := []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver=overlay"}
	build := append(global[:len(global):len(global)], "build", "--isolation=chroot", "--network=host", "--tls-verify=false", "--signature-policy="+policy, "--layers", "--tag="+j.Image)
	if j.Cache != "" {
		build = append(build, "--cache-from="+j.Cache, "--cache-to="+j.Cache)
	}
	build = append(build, append(buildArgs(j, "--build-arg="), j.Context)...)
	push := append(global[:len(global):len(global)], "push", "--tls-verify=false", "--signature-policy="+policy, j.Image)
	return g.Measure(func() error {
		for _, args := range [][]string{build, push} {
			cmd := exec.CommandContext(ctx, "buildah", args...)
			cmd.Env = append(os.Environ(), "TMPDIR="+dir)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := g.Start(cmd); err != nil {
				return err
			}
			if err := cmd.Wait(); err != nil {
				return fmt.Errorf("buildah %s: %w\n%s", args[len(global)], err, tail(out.String()))
			}
		}
		return nil
	})
}
