package builder

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/slipway-build/slipway/bench/internal/usage"
)

// buildKit is the daemon as root with overlayfs, its best case, and its client.
type buildKit struct{ programs map[string]string }

// BuildKit builds with the programs "buildkitd" and "buildctl" at these paths.
func BuildKit(programs map[string]string) Builder { return &buildKit{programs} }

// Name implements Builder.
func (b *buildKit) Name() string { return "buildkit" }

// Build implements Builder.
func (b *buildKit) Build(ctx context.Context, j *Job) (usage.Usage, error) {
	return inGroup(func(g *usage.Group) (usage.Usage, error) { return b.build(ctx, j, g) }, "buildkitd", "buildctl")
}

func (b *buildKit) build(ctx context.Context, j *Job, g *usage.Group) (u usage.Usage, err error) {
	dir := j.Disk
	config := filepath.Join(dir, "buildkitd.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "[worker.oci]\n  defaultCgroupParent = %q\n[registry.%q]\n  http = true\n", g.Path("containers"), j.Registry), 0o600); err != nil {
		return u, err
	}
	address := "unix://" + filepath.Join(dir, "socket")
	daemon := exec.CommandContext(ctx, b.programs["buildkitd"], "--config", config, "--root", filepath.Join(dir, "root"), "--addr", address,
		"--oci-worker=true", "--containerd-worker=false", "--oci-worker-snapshotter=overlayfs", "--oci-worker-net=host", "--allow-insecure-entitlement=network.host")
	var log bytes.Buffer
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := g.Start(daemon); err != nil {
		return u, err
	}
	defer func() {
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait() // it was told to end
	}()
	if err := b.await(ctx, address); err != nil {
		return u, fmt.Errorf("%w\n%s", err, tail(log.String()))
	}
	build := exec.CommandContext(ctx, b.programs["buildctl"], b.args(address, j)...)
	var out bytes.Buffer
	build.Stdout, build.Stderr = &out, &out
	u, err = g.Measure(func() error {
		if err := g.Start(build); err != nil {
			return err
		}
		return build.Wait()
	})
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, tail(out.String()))
	}
	return u, err
}

func (b *buildKit) args(address string, j *Job) []string {
	args := []string{
		"--addr", address, "build", "--progress=plain", "--frontend=dockerfile.v0", "--local=context=" + j.Context, "--local=dockerfile=" + j.Context,
		"--allow=network.host", "--opt=force-network-mode=host", "--output=type=image,name=" + j.Image + ",push=true",
	}
	if j.Cache != "" {
		cache := "type=registry,ref=" + j.Cache + ":buildkit"
		args = append(args, "--import-cache="+cache, "--export-cache="+cache+",mode=max")
	}
	return append(args, buildArgs(j, "--opt=build-arg:")...)
}

// await waits until the daemon serves.
func (b *buildKit) await(ctx context.Context, address string) (err error) {
	for range 200 {
		if err = exec.CommandContext(ctx, b.programs["buildctl"], "--addr", address, "debug", "workers").Run(); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("buildkitd does not serve: %w", err)
}
