// Command buildctl takes the place of BuildKit's command of that name in its tests: of "buildctl build" it
// knows what those tests use, and builds with slipway.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tonistiigi/fsutil"

	"github.com/slipway-build/slipway/test/conformance/shim/client"
	"github.com/slipway-build/slipway/test/conformance/shim/integration"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] != "build" {
		return fmt.Errorf("only \"build\" is known, not %q", args)
	}
	opt, trace, err := parse(args[1:])
	if err != nil {
		return err
	}
	if trace != "" {
		// Its content would be that of BuildKit; tests only want it to be there.
		if err := os.WriteFile(trace, nil, 0o644); err != nil {
			return err
		}
	}
	c, err := client.New(ctx, os.Getenv("BUILDKIT_HOST"))
	if err != nil {
		return err
	}
	_, err = c.Solve(ctx, nil, opt, nil)
	return err
}

func parse(args []string) (opt client.SolveOpt, trace string, err error) {
	opt = client.SolveOpt{LocalMounts: map[string]fsutil.FS{}, FrontendAttrs: map[string]string{}}
	f := flag.NewFlagSet("build", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.String("progress", "", "")
	f.StringVar(&trace, "trace", "", "")
	f.StringVar(&opt.Frontend, "frontend", "", "")
	f.Func("local", "", func(s string) error {
		name, dir, _ := strings.Cut(s, "=")
		mount, err := fsutil.NewFS(dir)
		opt.LocalMounts[name] = &integration.TmpDirWithName{FS: mount, Name: dir}
		return err
	})
	f.Func("opt", "", func(s string) error {
		key, value, _ := strings.Cut(s, "=")
		opt.FrontendAttrs[key] = value
		return nil
	})
	f.Func("output", "", func(s string) error {
		e, err := output(s)
		opt.Exports = append(opt.Exports, e)
		return err
	})
	if err := f.Parse(args); err != nil {
		return opt, "", err
	}
	if f.NArg() > 0 {
		return opt, "", fmt.Errorf("unknown arguments %q", f.Args())
	}
	return opt, trace, nil
}

func output(s string) (client.ExportEntry, error) {
	e := client.ExportEntry{Attrs: map[string]string{}}
	for field := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(field, "=")
		switch {
		case !ok:
			return e, fmt.Errorf("%q is not of the form KEY=VALUE", field)
		case key == "type":
			e.Type = value
		case key == "dest" && value == "":
			return e, errors.New("the destination is empty")
		case key == "dest":
			e.OutputDir = value
		default:
			e.Attrs[key] = value
		}
	}
	return e, nil
}
