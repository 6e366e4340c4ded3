// Command demo shows Slipway at work from beginning to end on one machine, with nothing but the
// binary: it starts a registry on loopback, gives it a base image, builds an example over it,
// reads back what was pushed, checks every layer, and runs the result. It fails if any of that
// does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	var d demo
	flag.StringVar(&d.slipway, "slipway", "bin/slipway", "the `binary` to show")
	flag.StringVar(&d.example, "example", "examples/hello", "the build context, a `directory`")
	flag.StringVar(&d.out, "out", "demo-out", "the `directory` for all output; its content is removed first")
	flag.Parse()
	d.stdout, d.stderr = os.Stdout, os.Stderr

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := d.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// demo is one demonstration.
type demo struct {
	slipway, example, out string
	stdout, stderr        io.Writer
}

// paths are the places below the output directory.
type paths struct {
	layout, results, digest, names, metadata, state, rootfs string
}

func (d *demo) paths() paths {
	in := func(name string) string { return filepath.Join(d.out, name) }
	return paths{
		layout: in("layout"), results: in("results"), digest: in("digest"), names: in("image-names"),
		metadata: in("metadata.json"), state: in("state"), rootfs: in("rootfs"),
	}
}

func (d *demo) run(ctx context.Context) (err error) {
	if err := d.clean(); err != nil {
		return err
	}
	registry, base, err := d.registryWithBase(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()

	tags := []string{registry.Host + "/demo/hello:v1", registry.Host + "/demo/hello:latest"}
	if err := d.build(ctx, registry.Host, base, tags); err != nil {
		return err
	}
	if err := d.showResults(); err != nil {
		return err
	}
	image, err := d.showImage(ctx, tags)
	if err != nil {
		return err
	}
	return d.runImage(ctx, image)
}

// clean removes what an earlier run left.
func (d *demo) clean() error {
	if err := os.MkdirAll(d.out, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(d.out)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(d.out, e.Name())); err != nil {
			return fmt.Errorf("removing an earlier demo: %w", err)
		}
	}
	return nil
}

// heading begins a part of the output.
func (d *demo) heading(format string, args ...any) {
	title := fmt.Sprintf(format, args...)
	fmt.Fprintf(d.stdout, "\n%s\n%s\n", title, strings.Repeat("─", len([]rune(title))))
}

func (d *demo) printf(format string, args ...any) { fmt.Fprintf(d.stdout, format, args...) }
