package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// certificates is where Debian keeps those of public authorities, and the Dockerfile expects them.
const certificates = "/etc/ssl/certs/ca-certificates.crt"

// busyboxFile is what makes the image that the stage busybox stands for.
const busyboxFile = "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH/ /bin/\n"

// sources prepares what stands in for the Dockerfile's base images, and gives the flags that say so.
func (o *options) sources(ctx context.Context) ([]string, error) {
	toolchain, err := o.toolchain(ctx)
	if err != nil {
		return nil, fmt.Errorf("toolchain: %w", err)
	}
	busybox, err := o.busybox(ctx)
	if err != nil {
		return nil, fmt.Errorf("busybox: %w", err)
	}
	return []string{
		"--build-arg=GO_IMAGE=local-toolchain", "--build-context=local-toolchain=" + toolchain,
		"--build-arg=BUSYBOX_IMAGE=local-busybox", "--build-context=local-busybox=oci-layout://" + busybox,
	}, nil
}

// toolchain is a root filesystem with Go, a shell and certificates.
func (o *options) toolchain(ctx context.Context) (string, error) {
	goroot, err := goEnv(ctx, "GOROOT")
	if err != nil {
		return "", err
	}
	root := filepath.Join(o.work, "toolchain")
	for _, dir := range []string{"usr/local/go", "etc/ssl/certs", "bin", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), os.ModeSticky|0o777); err != nil {
		return "", err
	}
	for _, part := range []string{"VERSION", "bin", "go.env", "lib", "pkg", "src"} {
		if err := run(ctx, "cp", "-a", filepath.Join(goroot, part), filepath.Join(root, "usr/local/go")); err != nil {
			return "", err
		}
	}
	trusted := cmp.Or(os.Getenv("SSL_CERT_FILE"), certificates)
	if err := run(ctx, "cp", "-L", trusted, filepath.Join(root, certificates)); err != nil {
		return "", err
	}
	return root, o.installBusybox(ctx, runtime.GOARCH, filepath.Join(root, "bin"))
}

// busybox is an OCI layout of an image with busybox in /bin, for all platforms.
func (o *options) busybox(ctx context.Context) (string, error) {
	dir, place := filepath.Join(o.work, "busybox-files"), filepath.Join(o.work, "busybox")
	for platform := range strings.SplitSeq(o.platforms, ",") {
		_, architecture, _ := strings.Cut(platform, "/")
		bin := filepath.Join(dir, architecture)
		if err := os.MkdirAll(bin, 0o755); err != nil {
			return "", err
		}
		if err := o.installBusybox(ctx, architecture, bin); err != nil {
			return "", err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(busyboxFile), 0o600); err != nil {
		return "", err
	}
	return place, run(ctx, o.slipway, "build", "--quiet", "--platform="+o.platforms, "--source-date-epoch=0", "--output=type=oci,tar=false,dest="+place, dir)
}

// installBusybox puts Debian's static busybox for an architecture into dir, under all the names that the one of
// this machine has.
func (o *options) installBusybox(ctx context.Context, architecture, dir string) error {
	program, err := o.fetchBusybox(ctx, architecture)
	if err != nil {
		return err
	}
	if err := run(ctx, "cp", program, filepath.Join(dir, "busybox")); err != nil {
		return err
	}
	names, err := exec.CommandContext(ctx, "busybox", "--list").Output()
	if err != nil {
		return fmt.Errorf("listing busybox's commands: %w", err)
	}
	for name := range strings.FieldsSeq(string(names)) {
		if name == "busybox" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// fetchBusybox downloads the package for an architecture, with package lists of its own, so that nothing of the
// machine's is changed, and gives the program in it.
func (o *options) fetchBusybox(ctx context.Context, architecture string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(o.work, "packages", architecture))
	if err != nil {
		return "", err
	}
	for _, program := range []string{"bin/busybox", "usr/bin/busybox"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
			return filepath.Join(dir, program), nil
		}
	}
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	apt := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "apt-get", append([]string{
			"-qq", "-o", "APT::Architecture=" + architecture, "-o", "APT::Architectures::=" + architecture,
			"-o", "Dir::State::lists=" + filepath.Join(dir, "lists"), "-o", "Dir::Cache=" + filepath.Join(dir, "cache"), "-o", "APT::Sandbox::User=root",
		}, args...)...)
		cmd.Dir, cmd.Stderr = dir, os.Stderr
		return cmd.Run()
	}
	if err := errors.Join(apt("update"), apt("download", "busybox-static:"+architecture)); err != nil {
		return "", fmt.Errorf("fetching the package for %s: %w", architecture, err)
	}
	packages, err := filepath.Glob(filepath.Join(dir, "busybox-static_*.deb"))
	if err != nil || len(packages) != 1 {
		return "", errors.Join(err, fmt.Errorf("%d packages for %s were fetched", len(packages), architecture))
	}
	if err := run(ctx, "dpkg-deb", "-x", packages[0], dir); err != nil {
		return "", err
	}
	for _, program := range []string{"bin/busybox", "usr/bin/busybox"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
			return filepath.Join(dir, program), nil
		}
	}
	return "", fmt.Errorf("%s has no busybox", packages[0])
}

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
