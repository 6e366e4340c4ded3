// Command llb builds from a graph in LLB as slipway builds from a Dockerfile: with its frontend's decoder,
// its scheduler, operations, backends and outputs. It stands for slipway where BuildKit's tests send graphs of their
// own, which slipway's command line does not take. Its flags are slipway's, as far as those tests need them, and:
//
//	--input NAME=FILE  a marshalled definition, or none without FILE; the one called "definition" is what is built
//	--local NAME=DIR   a directory that graphs call by this name
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/pkg/build"
	"github.com/slipway-build/slipway/pkg/secret"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "slipway: %v\n", err)
		os.Exit(1)
	}
}

// definition is the input that is built if there is no Dockerfile to use it.
const definition = "definition"

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] != "build" {
		return fmt.Errorf("only \"build\" is known, not %q", args)
	}
	o, err := parse(args[1:])
	if err != nil {
		return err
	}
	if o.Inputs[definition] != nil {
		o.BuildContexts[definition] = "input:" + definition
		o.Dockerfile, o.Stdin = "-", strings.NewReader("FROM "+definition+"\n")
	}
	_, err = build.Run(ctx, o)
	return err
}

func parse(args []string) (build.Options, error) {
	o := build.Options{
		Isolation: os.Getenv("SLIPWAY_ISOLATION"), ProgressTo: os.Stderr, Stdout: os.Stdout,
		BuildArgs: map[string]string{}, BuildContexts: map[string]string{}, Inputs: map[string][]byte{},
	}
	f := flag.NewFlagSet("build", flag.ContinueOnError)
	var secrets, agents []string
	list := func(values *[]string) func(string) error {
		return func(s string) error { *values = append(*values, s); return nil }
	}
	pair := func(set func(key, value string) error) func(string) error {
		return func(s string) error {
			key, value, ok := strings.Cut(s, "=")
			if !ok {
				return fmt.Errorf("%q is not of the form NAME=VALUE", s)
			}
			return set(key, value)
		}
	}
	f.StringVar(&o.StateDir, "state-dir", "", "")
	f.StringVar(&o.Progress, "progress", "", "")
	f.StringVar(&o.MetadataFile, "metadata-file", "", "")
	f.StringVar(&o.Target, "target", "", "")
	f.StringVar(&o.Dockerfile, "file", "", "")
	f.BoolVar(&o.NoPush, "no-push", false, "")
	f.Func("output", "", list(&o.Outputs))
	f.Func("cache-from", "", list(&o.Cache.From))
	f.Func("cache-to", "", list(&o.Cache.To))
	f.BoolVar(&o.NoCache, "no-cache", false, "")
	f.Func("allow", "", list(&o.Allow))
	f.Func("secret", "", list(&secrets))
	f.Func("ssh", "", list(&agents))
	f.Func("platform", "", func(s string) error { o.Platforms = strings.Split(s, ","); return nil })
	f.Func("build-arg", "", pair(func(name, value string) error { o.BuildArgs[name] = value; return nil }))
	f.Func("build-context", "", pair(func(name, value string) error { o.BuildContexts[name] = value; return nil }))
	f.Func("local", "", pair(func(name, dir string) error { o.BuildContexts[name] = dir; return nil }))
	f.Func("input", "", pair(func(name, path string) (err error) {
		o.Inputs[name] = nil
		if path != "" {
			o.Inputs[name], err = os.ReadFile(path)
		}
		return err
	}))
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 1 {
		return o, fmt.Errorf("more than one context: %q", f.Args())
	}
	o.Context = f.Arg(0)
	for _, s := range secrets {
		parsed, err := secret.Parse(s)
		if err != nil {
			return o, err
		}
		o.Secrets = append(o.Secrets, parsed)
	}
	for _, a := range agents {
		parsed, err := secret.ParseAgent(a)
		if err != nil {
			return o, err
		}
		o.Agents = append(o.Agents, parsed)
	}
	if o.Context == "" {
		return o, errors.New("there is no context")
	}
	return o, nil
}
