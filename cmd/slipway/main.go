// Command slipway builds container images from Dockerfiles in user space.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// garbage is how much memory may be garbage, in percent of what is in use: half of Go's default. Most of what is in use are
// tables of files, which are there to the end of the build, and pods have limits.
const garbage = 50

// run is the whole program but for the process around it; it returns the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := withSignals(context.Background())
	defer stop()
	app := newApp(stdin, stdout, stderr)
	args, err := normalizeArgs(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	if err == nil {
		return 0
	}
	report(stderr, err)
	return exitCode(ctx, err)
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *cli.App {
	return &cli.App{
		Name:                      "slipway",
		Usage:                     "build container images from Dockerfiles, without a daemon and without privilege",
		Reader:                    stdin,
		Writer:                    stdout,
		ErrWriter:                 stderr,
		HideVersion:               true,
		Suggest:                   true,
		DisableSliceFlagSeparator: true, // values may hold commas: --build-arg A=1,2 is one
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              asUsageError,
		CommandNotFound: func(c *cli.Context, name string) {
			fmt.Fprintf(c.App.ErrWriter, "slipway: unknown command %q; see slipway --help\n", name)
		},
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				if question := cli.SuggestCommand(c.App.Commands, name); !strings.Contains(question, `""`) { // nothing is like it
					return usageErrorf("unknown command %q. %s", name, question)
				}
				return usageErrorf("unknown command %q; see slipway --help", name)
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{buildCommand(), indexCommand(), signCommand(), attestCommand(), lintCommand(), planCommand(), cacheCommand(), doctorCommand(), versionCommand()},
	}
}

// normalizeArgs lets habits work that the flag package does not know: Kaniko's call without a
// subcommand (see kanikoCall), flags after the context directory, which would be taken for further arguments, and
// lists (see listFlags).
func normalizeArgs(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	rest := kanikoCall(app, args[0], args[1:])
	if len(rest) == 0 {
		return args, nil
	}
	if cmd, depth := commandOf(app, rest); cmd != nil {
		expanded, err := expandLists(cmd, rest[depth:])
		if err != nil {
			return nil, usageError{err}
		}
		rest = slices.Concat(rest[:depth], flagsFirst(cmd, expanded))
	}
	return slices.Concat(args[:1], rest), nil
}

// commandOf is the command that args begin with, and how many of them name it: "cache prune" are two.
func commandOf(app *cli.App, args []string) (cmd *cli.Command, depth int) {
	if cmd = app.Command(args[0]); cmd == nil {
		return nil, 0
	}
	for depth = 1; depth < len(args); depth++ {
		i := slices.IndexFunc(cmd.Subcommands, func(sub *cli.Command) bool { return sub.HasName(args[depth]) })
		if i < 0 {
			break
		}
		cmd = cmd.Subcommands[i]
	}
	return cmd, depth
}

// flagsFirst moves the flags of cmd in args before the other arguments, each under its first name:
// the flag package refuses "-t a -d b", two names of one flag. A flag with an empty value is left
// out: Tekton and Argo pass that for what their user did not set. An empty context stays, before any other, because
// the default would be the directory that the program happens to be in; so do empty credential helpers, which Kaniko knows as
// none. What follows "--" stays.
func flagsFirst(cmd *cli.Command, args []string) []string {
	type known struct {
		name       string
		takesValue bool
	}
	byName := map[string]known{}
	for _, f := range cmd.Flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			byName[name] = known{f.Names()[0], !isBool}
		}
	}
	var flags, others []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			others = append(others, args[i:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			others = append(others, a)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimLeft(a, "-"), "=")
		k, ok := byName[name]
		switch {
		case !ok:
			flags = append(flags, a) // for the flag package to complain about
		case hasValue && value != "":
			flags = append(flags, "--"+k.name+"="+value)
		case hasValue && k.name == contextFlag:
			flags = slices.Concat([]string{a}, flags)
		case hasValue && k.name != helpersFlag:
		case hasValue:
			flags = append(flags, a)
		case k.takesValue && i+1 < len(args):
			if i++; args[i] != "" || k.name == helpersFlag {
				flags = append(flags, "--"+k.name, args[i])
			}
		default:
			flags = append(flags, "--"+k.name)
		}
	}
	return append(flags, others...)
}

// signalError is the cause of cancellation by a signal.
type signalError struct{ signal syscall.Signal }

func (e signalError) Error() string { return fmt.Sprintf("stopped by signal %s", e.signal) }

// withSignals cancels the context at SIGINT or SIGTERM, with a signalError as its cause. A second
// signal ends the process as if none were handled.
func withSignals(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case s := <-ch:
			signal.Stop(ch)
			if s, ok := s.(syscall.Signal); ok {
				cancel(signalError{s})
			}
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(ch)
		cancel(errors.New("done"))
	}
}
