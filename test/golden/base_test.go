package golden

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/internal/testbase"
)

// bases is a registry with the images that cases build upon:
//
//	busybox   the image of testbase: busybox, /etc/passwd, usual directories
//	fixture   busybox, and three layers with one of everything below /srv
//	config    busybox with every field of the config set
//	onbuild   busybox with triggers
//	multi     an index of three platforms, each with one file /arch and nothing else
type bases struct {
	host     string
	registry *testbase.Registry
	images   map[string]v1.Image // those that are no index
	index    v1.ImageIndex       // multi
	canRun   bool                // the images have what RUN in cases needs
}

// baseTime is the time of everything in the base images that says nothing else. It is that
// of the images of testbase.
func baseTime() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func newBases(ctx context.Context, tempDir string) (*bases, error) {
	program, err := testbase.Find(ctx)
	if err != nil {
		return nil, err
	}
	b := &bases{images: map[string]v1.Image{}, canRun: program.Name == "busybox"}
	if b.images["busybox"], err = program.Image(); err != nil {
		return nil, err
	}
	for _, add := range []func() error{
		func() error { return b.addFixture(ctx, tempDir) },
		b.addConfig,
		b.addOnbuild,
		b.addMulti,
	} {
		if err := add(); err != nil {
			return nil, err
		}
	}
	return b, b.serve(ctx)
}

func (b *bases) serve(ctx context.Context) (err error) {
	if b.registry, err = testbase.Serve(); err != nil {
		return err
	}
	b.host = b.registry.Host
	for repository, image := range b.images {
		if _, err := b.registry.Push(ctx, repository+":latest", image); err != nil {
			return err
		}
	}
	ref, err := name.ParseReference(b.host+"/multi:latest", name.Insecure)
	if err != nil {
		return err
	}
	return remote.WriteIndex(ref, b.index, remote.WithContext(ctx))
}

// writeLayout writes a base image as OCI layout.
func (b *bases) writeLayout(repository, dir string) error {
	index := v1.ImageIndex(empty.Index)
	if repository == "multi" {
		index = b.index
	}
	p, err := layout.Write(dir, index)
	if err != nil || repository == "multi" {
		return err
	}
	image, ok := b.images[repository]
	if !ok {
		return fmt.Errorf("no base image is named %q", repository)
	}
	return p.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "latest"}))
}

// addFixture makes the image with one of everything. Its third layer removes files of the second.
func (b *bases) addFixture(ctx context.Context, tempDir string) error {
	tool, err := compileXattr(ctx, tempDir)
	if err != nil {
		return err
	}
	image := b.images["busybox"]
	for i, list := range []string{`
		srv/ mode=0755
		srv/dir/ mode=0750 owner=1000:50
		srv/dir/a content=a owner=1000:50
		srv/dir/b content=b mode=0600
		srv/dir/sub/ mode=0755
		srv/dir/sub/c content=c
		srv/gone content=gone
		srv/goneToo/ mode=0755
		srv/goneToo/f content=f
		srv/opaque/ mode=0755
		srv/opaque/old content=old
		`, `
		run/ mode=0755
		srv/ mode=0755
		srv/.wh.gone
		srv/.wh.goneToo
		srv/abs symlink=/srv/dir
		srv/big zeros=100000
		srv/escape symlink=../../../../srv/dir
		srv/empty/ mode=0755
		srv/fifo fifo mode=0620
		srv/file content=file
		srv/filelink symlink=file
		srv/hard1 content=hard
		srv/hard2 hardlink=srv/hard1
		srv/link symlink=dir
		srv/locked/ mode=0700
		srv/locked/f content=f mode=0400
		srv/loop symlink=loop
		srv/opaque/ mode=0755
		srv/opaque/.wh..wh..opq
		srv/opaque/new content=new
		srv/setgid/ mode=2775 owner=0:50
		srv/suid content=suid mode=4755
		srv/xattr content=xattr xattr=user.color=blue
		var/ mode=0755
		var/run symlink=/run
	`} {
		specs, err := parseFileSpecs(list)
		if err != nil {
			return err
		}
		for i := range specs {
			specs[i].mtime = baseTime()
		}
		if image, err = appendTar(image, fmt.Sprintf("fixture %d", i+1), specs); err != nil {
			return err
		}
	}
	image, err = appendTar(image, "fixture 3", []fileSpec{
		{path: "bin", kind: "dir", mtime: baseTime()},
		{path: "bin/xattr", kind: "content", value: string(tool), mode: modeOf(0o755), mtime: baseTime()},
	})
	b.images["fixture"] = image
	return err
}

func modeOf(m uint32) *uint32 { return &m }

func compileXattr(ctx context.Context, dir string) ([]byte, error) {
	p := filepath.Join(dir, "xattr")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", p, "./xattr")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compiling xattr: %w\n%s", err, out)
	}
	return os.ReadFile(p)
}

// appendTar appends one layer to an image.
func appendTar(image v1.Image, what string, specs []fileSpec) (v1.Image, error) {
	data, err := makeArchive("layer.tar", specs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return mutate.Append(image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: baseTime()}, CreatedBy: what},
	})
}

// withConfig changes the config of an image.
func withConfig(image v1.Image, change func(*v1.ConfigFile)) (v1.Image, error) {
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	change(config)
	return mutate.ConfigFile(image, config)
}

func (b *bases) addConfig() (err error) {
	b.images["config"], err = withConfig(b.images["busybox"], func(c *v1.ConfigFile) {
		c.Author = "the author"
		c.Created = v1.Time{Time: baseTime().Add(time.Hour)}
		c.History = append(c.History, v1.History{
			Created: v1.Time{Time: baseTime().Add(time.Hour)}, CreatedBy: "settings", Comment: "by hand", EmptyLayer: true,
		})
		c.Config = v1.Config{
			User:         "demo",
			Env:          []string{"PATH=/bin:/usr/bin", "COLOR=blue", "SHAPE=round"},
			WorkingDir:   "/work",
			Entrypoint:   []string{"/bin/echo", "from"},
			Cmd:          []string{"base"},
			Labels:       map[string]string{"kept": "yes", "changed": "no"},
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
			Volumes:      map[string]struct{}{"/data": {}},
			StopSignal:   "SIGQUIT",
			Shell:        []string{"/bin/sh", "-ec"},
			Healthcheck:  &v1.HealthConfig{Test: []string{"CMD", "true"}, Interval: time.Minute, Retries: 2},
		}
	})
	return err
}

func (b *bases) addOnbuild() (err error) {
	b.images["onbuild"], err = withConfig(b.images["busybox"], func(c *v1.ConfigFile) {
		c.Config.OnBuild = []string{"ARG WHO=nobody", "COPY trigger.txt /triggered/", "RUN echo \"for $WHO\" > /triggered/run", "LABEL triggered=yes"}
	})
	return err
}

func (b *bases) addMulti() error {
	b.index = empty.Index
	for _, p := range []v1.Platform{
		{OS: "linux", Architecture: "amd64"},
		{OS: "linux", Architecture: "arm64"},
		{OS: "linux", Architecture: "arm", Variant: "v7"},
	} {
		image, err := appendTar(empty.Image, "platform", []fileSpec{{
			path: "arch", kind: "content", value: strings.TrimSuffix(p.Architecture+"/"+p.Variant, "/"), mtime: baseTime(),
		}})
		if err != nil {
			return err
		}
		image, err = withConfig(image, func(c *v1.ConfigFile) {
			c.OS, c.Architecture, c.Variant, c.Created = p.OS, p.Architecture, p.Variant, v1.Time{Time: baseTime()}
			c.Config.Env = []string{"BASE=" + p.Architecture}
		})
		if err != nil {
			return err
		}
		b.index = mutate.AppendManifests(b.index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: &p}})
	}
	return nil
}
