package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/build"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/sign"
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

// asUsageError marks the errors of the flag package, names the flag that was meant, and says what a value is like.
func asUsageError(c *cli.Context, err error, _ bool) error {
	var flags []cli.Flag
	if c.Command != nil {
		flags = c.Command.Flags
	}
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return usageError{wrongValue(flags, err)}
	}
	if meant := cli.SuggestFlag(flags, name, false); meant != "" {
		return usageErrorf("unknown flag %s. Did you mean %s?", spelled(name), meant)
	}
	return usageErrorf("unknown flag %s; see slipway %s --help", spelled(name), c.Command.Name)
}

// spelled is a flag as users write it.
func spelled(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// badValue is what the flag package says of a value: `invalid value "2d" for flag -cache-ttl: parse error`.
var badValue = regexp.MustCompile(`(?s)^(invalid .*) for (?:flag )?-([^ :]+): ([^"]*)$`)

// wrongValue is an error of the flag package about a flag's value, in words that help.
func wrongValue(flags []cli.Flag, err error) error {
	if name, missing := strings.CutPrefix(err.Error(), "flag needs an argument: -"); missing {
		return fmt.Errorf("%s needs a value", spelled(name))
	}
	said := badValue.FindStringSubmatch(err.Error())
	if said == nil {
		return err
	}
	complaint, name, why := said[1], said[2], said[3]
	if i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) }); i >= 0 && why == "parse error" {
		why = "it takes " + values(flags[i])
	}
	return fmt.Errorf("%s for %s: %s", complaint, spelled(name), why)
}

// values says what a flag takes that does not take any text.
func values(f cli.Flag) string {
	switch f.(type) {
	case *cli.DurationFlag:
		return "a time in hours, minutes and seconds, such as 36h or 1h30m"
	case *cli.BoolFlag:
		return "true or false"
	}
	return "a number"
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
		service     *sign.ServiceError
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
		errors.As(err, &source) && source.Temporary(), errors.As(err, &service) && service.Temporary():
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
