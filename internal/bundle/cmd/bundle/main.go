// Command bundle makes the generated files of the Tekton bundle and what a release publishes of it.
//
//	bundle generate               write the generated definitions, tables of READMEs, and catalog.yaml
//	bundle release DIRECTORY      write what a release publishes as files
//	bundle image DIRECTORY [REF]  write the Tekton bundle as an OCI layout, and push it
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/slipway-build/slipway/internal/bundle"
	"github.com/slipway-build/slipway/internal/bundle/release"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bundle: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("bundle", flag.ContinueOnError)
	repository := flags.String("C", ".", "the repository, a `directory`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch command, dir := flags.Arg(0), flags.Arg(1); {
	case command == "generate" && flags.NArg() == 1:
		return generate(*repository, out)
	case command == "release" && flags.NArg() == 2:
		return release.Write(os.DirFS(*repository), dir)
	case command == "image" && (flags.NArg() == 2 || flags.NArg() == 3):
		return image(ctx, *repository, dir, flags.Arg(2), out)
	default:
		return errors.New("usage: bundle [-C DIRECTORY] generate | release DIRECTORY | image DIRECTORY [REFERENCE]")
	}
}

// image writes the Tekton bundle into dir, and pushes it to ref unless that is empty.
func image(ctx context.Context, repository, dir, ref string, out io.Writer) error {
	definitions, err := bundle.Load(os.DirFS(repository))
	if err != nil {
		return err
	}
	img, err := release.Image(definitions)
	if err != nil {
		return err
	}
	if err := release.WriteLayout(img, dir); err != nil {
		return err
	}
	if ref == "" {
		digest, err := img.Digest()
		fmt.Fprintf(out, "wrote %s, %s\n", dir, digest)
		return err
	}
	pushed, err := release.Push(ctx, img, ref)
	if err != nil {
		return fmt.Errorf("pushing to %s: %w", ref, err)
	}
	fmt.Fprintln(out, "pushed", pushed)
	return nil
}

// generate writes the generated files that are not yet as they should be.
func generate(repository string, out io.Writer) error {
	files, err := bundle.Generate(os.DirFS(repository))
	if err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(repository, filepath.FromSlash(f.Path))
		old, err := os.ReadFile(path)
		if err == nil && bytes.Equal(old, f.Data) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			return err
		}
		fmt.Fprintln(out, "wrote", f.Path)
	}
	return nil
}
