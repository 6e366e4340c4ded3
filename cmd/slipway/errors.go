package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/build"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/results"
)

// Exit codes, as docs/exit-codes.md lists them.
const (
	exitFailure    = 1
	exitUsage      = 2
	exitTransient  = 75 // EX_TEMPFAIL: worth a retry
	exitPermission = 77 // EX_NOPERM: this pod lacks something
)

// usageError is an error in how slipway was called.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usageErrorf(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// asUsageError marks the errors of the flag package, and names the flag that was meant.
func asUsageError(c *cli.Context, err error, _ bool) error {
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: ")
	if !unknown {
		return usageError{err}
	}
	var flags []cli.Flag
	if c.Command != nil {
		flags = c.Command.Flags
	}
	if meant := cli.SuggestFlag(flags, strings.TrimLeft(name, "-"), false); meant != "" {
		return usageErrorf("unknown flag -%s. Did you mean %s?", name, meant)
	}
	return usageErrorf("unknown flag -%s; see slipway %s --help", name, c.Command.Name)
}

// exitCode maps an error to the exit code that tells scripts what kind it is.
func exitCode(ctx context.Context, err error) int {
	var (
		stopped     signalError
		usage       usageError
		option      *build.UsageError
		process     *isolation.ExitError
		unsupported *isolation.UnsupportedError
		remote      *registry.Error
		put         *results.PutError
		source      *op.SourceError
	)
	switch {
	case errors.As(context.Cause(ctx), &stopped):
		return 128 + int(stopped.signal)
	case errors.As(err, &usage), errors.As(err, &option):
		return exitUsage
	case errors.As(err, &process):
		return process.Code
	case errors.As(err, &unsupported):
		return exitPermission
	case errors.As(err, &remote) && remote.Temporary(), errors.As(err, &put) && put.Temporary(),
		errors.As(err, &source) && source.Temporary():
		return exitTransient
	case errors.Is(err, os.ErrPermission):
		return exitPermission
	}
	return exitFailure
}

// report prints err for the user: the lines of the Dockerfile that it comes from, then the message.
func report(w io.Writer, err error) {
	var located *op.LocatedError
	if errors.As(err, &located) {
		if snippet := located.Location.Snippet(2); snippet != "" {
			fmt.Fprintln(w)
			fmt.Fprint(w, snippet)
		}
	}
	fmt.Fprintf(w, "slipway: %v\n", err)
}
