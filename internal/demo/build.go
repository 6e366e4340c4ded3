package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/testbase"
)

// registryWithBase starts a registry that holds the base image.
func (d *demo) registryWithBase(ctx context.Context) (*testbase.Registry, string, error) {
	d.heading("A registry on loopback, with a base image")
	program, err := testbase.Find(ctx)
	if err != nil {
		return nil, "", err
	}
	image, err := program.Image()
	if err != nil {
		return nil, "", err
	}
	registry, err := testbase.Serve()
	if err != nil {
		return nil, "", err
	}
	base, err := registry.Push(ctx, "base/"+program.Name+":demo", image)
	if err != nil {
		return nil, "", errors.Join(err, registry.Close())
	}
	d.printf("%s: %s and %d commands\n", base, program.Name, len(program.Commands))
	return registry, base, nil
}

// build runs the binary as a CI step would.
func (d *demo) build(ctx context.Context, host, base string, tags []string) error {
	p := d.paths()
	args := []string{
		"build",
		"--build-arg", "BASE=" + base,
		"--insecure-registry", host,
		"--state-dir", p.state,
		"--oci-layout-path", p.layout,
		"--results-dir", p.results,
		"--digest-file", p.digest,
		"--image-name-tag-with-digest-file", p.names,
		"--metadata-file", p.metadata,
		"--progress", "plain",
	}
	for _, tag := range tags {
		args = append(args, "--tag", tag)
	}
	args = append(args, d.example)

	d.heading("The build")
	d.printf("%s %s\n\n", d.slipway, strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, d.slipway, args...)
	cmd.Stdout, cmd.Stderr = d.stdout, d.stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", d.slipway, err)
	}
	d.printf("\nThe whole build took %s.\n", time.Since(start).Round(time.Millisecond))
	return nil
}

// showResults prints the files that a Tekton or Argo step hands on.
func (d *demo) showResults() error {
	p := d.paths()
	d.heading("The results, as Tekton and Argo read them")
	results, err := filepath.Glob(filepath.Join(p.results, "*"))
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return fmt.Errorf("there are no results in %s", p.results)
	}
	for _, path := range append(results, p.digest, p.names) {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		d.printf("%-24s %q\n", strings.TrimPrefix(path, d.out+string(filepath.Separator)), data)
	}
	return nil
}

// result reads one result.
func (d *demo) result(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join(d.paths().results, name))
	return string(data), err
}
