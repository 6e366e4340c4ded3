// Command ownimage builds the images of slipway itself, with slipway, from the Dockerfile at the top of the repository. What
// that takes from registries, it takes from this machine: Go's toolchain, Debian's static busybox, the certificates
// of public authorities.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// limit is how many bytes of layers, compressed, an image may have.
const limit = 60 << 20

func main() {
	var o options
	flag.StringVar(&o.slipway, "slipway", "bin/slipway", "the binary to build with")
	flag.StringVar(&o.out, "out", "dist/image", "directory for what is made")
	flag.StringVar(&o.platforms, "platforms", "linux/amd64,linux/arm64", "platforms to build for")
	flag.StringVar(&o.version, "version", "devel", "version of slipway in the image")
	flag.StringVar(&o.epoch, "epoch", "0", "seconds since 1970 that no time in the image exceeds")
	flag.BoolVar(&o.twice, "twice", false, "build again from a copy of the sources, and compare the digests")
	flag.Parse()
	if err := o.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "ownimage:", err)
		os.Exit(1)
	}
}

type options struct {
	slipway, out, platforms, version, epoch string
	twice                                   bool

	work string // for what is needed meanwhile
}

func (o *options) run(ctx context.Context) (err error) {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	// Not below the repository, whose tools look into every directory.
	if o.work, err = os.MkdirTemp("", "slipway-image-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.work)) }()
	sources, err := o.sources(ctx)
	if err != nil {
		return err
	}
	for _, flavour := range []string{"slipway", "debug"} {
		place := filepath.Join(o.out, flavour)
		// What one flavour has in common with the other is built once.
		index, err := o.build(ctx, ".", flavour, place, append(sources[:len(sources):len(sources)], "--cache", "--cache-repo="+filepath.Join(o.out, "cache")))
		if err != nil {
			return err
		}
		if err := report(flavour, index); err != nil {
			return err
		}
		if o.twice {
			if err := o.again(ctx, flavour, place, sources); err != nil {
				return err
			}
		}
	}
	return nil
}

// build leaves the images of one flavour in place, as an OCI layout.
func (o *options) build(ctx context.Context, repository, flavour, place string, further []string) (v1.ImageIndex, error) {
	if err := os.RemoveAll(place); err != nil {
		return nil, err
	}
	args := append([]string{
		"build", "--target=" + flavour, "--platform=" + o.platforms, "--output=type=oci,tar=false,dest=" + place,
		"--source-date-epoch=" + o.epoch, "--build-arg=VERSION=" + o.version, "--build-arg=GOPROXY",
		// These are left out where the environment has none.
		"--build-arg=HTTP_PROXY", "--build-arg=HTTPS_PROXY", "--build-arg=NO_PROXY",
	}, further...)
	cmd := exec.CommandContext(ctx, o.slipway, append(args, repository)...)
	cmd.Env = os.Environ()
	if os.Getenv("GOPROXY") == "" {
		proxy, err := goEnv(ctx, "GOPROXY")
		if err != nil {
			return nil, err
		}
		cmd.Env = append(cmd.Env, "GOPROXY="+proxy)
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("building %s: %w", flavour, err)
	}
	return layout.ImageIndexFromPath(place)
}

// again builds from a copy of the sources, elsewhere and with other times, and compares.
func (o *options) again(ctx context.Context, flavour, place string, sources []string) error {
	dir, err := os.MkdirTemp(o.work, "again-")
	if err != nil {
		return err
	}
	for _, name := range []string{"Dockerfile", ".dockerignore", "go.mod", "go.sum"} {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil { //nolint:gosec // a copy of what everybody may read
			return err
		}
	}
	for _, name := range []string{"cmd", "internal", "pkg", "results"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(name)); err != nil {
			return err
		}
	}
	second := place + "-again"
	if _, err := o.build(ctx, dir, flavour, second, sources); err != nil {
		return err
	}
	first, err := os.ReadFile(filepath.Join(place, "index.json"))
	if err != nil {
		return err
	}
	other, err := os.ReadFile(filepath.Join(second, "index.json"))
	if err != nil {
		return err
	}
	if string(first) != string(other) {
		return fmt.Errorf("two builds of %s differ:\n%s\n%s", flavour, first, other)
	}
	fmt.Printf("%s: two builds, one digest\n", flavour)
	return os.RemoveAll(second)
}

// report prints digest and size of each image, and refuses what is too large.
func report(flavour string, index v1.ImageIndex) error {
	top, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, desc := range top.Manifests {
		fmt.Printf("%s: %s\n", flavour, desc.Digest)
		images, err := imagesOf(index, desc)
		if err != nil {
			return err
		}
		for platform, img := range images {
			m, err := img.Manifest()
			if err != nil {
				return err
			}
			var size int64
			for _, l := range m.Layers {
				size += l.Size
			}
			fmt.Printf("%s %s: %.1f MB compressed\n", flavour, platform, float64(size)/1e6)
			if size > limit {
				return fmt.Errorf("%s %s has %d bytes, more than %d", flavour, platform, size, limit)
			}
		}
	}
	return nil
}

// imagesOf gives the images that desc stands for, by platform.
func imagesOf(index v1.ImageIndex, desc v1.Descriptor) (map[string]v1.Image, error) {
	if !desc.MediaType.IsIndex() {
		img, err := index.Image(desc.Digest)
		if err != nil {
			return nil, err
		}
		config, err := img.ConfigFile()
		if err != nil {
			return nil, err
		}
		return map[string]v1.Image{config.Platform().String(): img}, nil
	}
	inner, err := index.ImageIndex(desc.Digest)
	if err != nil {
		return nil, err
	}
	m, err := inner.IndexManifest()
	if err != nil {
		return nil, err
	}
	images := map[string]v1.Image{}
	for _, d := range m.Manifests {
		if images[d.Platform.String()], err = inner.Image(d.Digest); err != nil {
			return nil, err
		}
	}
	return images, nil
}

func goEnv(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", name).Output()
	return strings.TrimSpace(string(out)), err
}
