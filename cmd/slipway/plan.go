package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/build"
	"github.com/slipway-build/slipway/pkg/graph"
)

// The values of --format.
const (
	formatText = "text"
	formatJSON = "json"
	formatDOT  = "dot"
)

func lintCommand() *cli.Command {
	return &cli.Command{
		Name:         "lint",
		Usage:        "check a Dockerfile by BuildKit's rules",
		ArgsUsage:    "[CONTEXT]",
		Flags:        inspectFlags(formatFlag("text or json"), cloudCredentialsFlag("What is built")),
		OnUsageError: asUsageError,
		Action:       runLint,
	}
}

func planCommand() *cli.Command {
	const category = "What is shown"
	return &cli.Command{
		Name:      "plan",
		Usage:     "show what a build would do, without doing it",
		ArgsUsage: "[CONTEXT]",
		Flags: append(inspectFlags(
			formatFlag("text, json or dot"),
			&cli.BoolFlag{Category: category, Name: "outline", Usage: "show the target's arguments, secrets and ssh agents instead"},
			&cli.BoolFlag{Category: category, Name: "targets", Usage: "show the stages instead"},
			&cli.BoolFlag{Category: category, Name: "requests", Usage: "show what the Dockerfile frontend can be asked, with versions, instead"},
		), planCacheFlags()...),
		OnUsageError: asUsageError,
		Action:       runPlan,
	}
}

// planCacheFlags say which caches are asked for the results of steps.
func planCacheFlags() []cli.Flag {
	return slices.DeleteFunc(cacheFlags(), func(f cli.Flag) bool {
		return !slices.Contains([]string{"cache", "cache-repo", "cache-from", "cache-ttl", "cache-copy-layers", "cache-run-layers", cloudCredentialsDir, "no-cache", "no-cache-filter"}, f.Names()[0])
	})
}

func formatFlag(formats string) cli.Flag {
	return &cli.StringFlag{Category: "What is shown", Name: "format", Value: formatText, Usage: formats}
}

func inspectFlags(own ...cli.Flag) []cli.Flag {
	const category = "What is built"
	return withLists(own, dockerfileFlags(), credentialFlags(category), []cli.Flag{stateDirFlag(category), cacheDirFlag(category)}, registryFlags(), pullFlags())
}

func runLint(c *cli.Context) error {
	format, err := chosenFormat(c, formatText, formatJSON)
	if err != nil {
		return err
	}
	opts, err := inspectOptions(c)
	if err != nil {
		return err
	}
	r, err := inspect(c, opts, build.InspectLint)
	if err != nil {
		return err
	}
	return build.PrintLint(c.App.Writer, r.Result, format == formatJSON)
}

func runPlan(c *cli.Context) error {
	what, flag := build.InspectGraph, ""
	for _, f := range []struct {
		name string
		what build.Inspection
	}{
		{"outline", build.InspectOutline},
		{"targets", build.InspectTargets},
		{"requests", build.InspectRequests},
	} {
		if !c.Bool(f.name) {
			continue
		}
		if flag != "" {
			return usageErrorf("--%s and --%s exclude each other", flag, f.name)
		}
		what, flag = f.what, f.name
	}
	formats := []string{formatText, formatJSON}
	if what == build.InspectGraph {
		formats = append(formats, formatDOT)
	}
	format, err := chosenFormat(c, formats...)
	if err != nil {
		return err
	}
	opts, err := inspectOptions(c)
	if err != nil {
		return err
	}
	if what == build.InspectGraph {
		return printPlan(c, opts, format)
	}
	r, err := inspect(c, opts, what)
	if err != nil {
		return err
	}
	return build.PrintAnswer(c.App.Writer, r.Result, format == formatJSON)
}

// printPlan shows what a build with these options would do.
func printPlan(c *cli.Context, opts build.Options, format string) error {
	r, err := inspect(c, opts, build.InspectGraph)
	if err != nil {
		return err
	}
	g := graph.New(r.Result, r.Cache)
	switch format {
	case formatJSON:
		return g.WriteJSON(c.App.Writer)
	case formatDOT:
		return g.WriteDOT(c.App.Writer)
	}
	return g.WriteText(c.App.Writer)
}

func chosenFormat(c *cli.Context, formats ...string) (string, error) {
	format := c.String("format")
	if !slices.Contains(formats, format) {
		return "", usageErrorf("--format %q is not one of %s", format, strings.Join(formats, ", "))
	}
	return format, nil
}

// inspectOptions are those of the Dockerfile that the flags mean.
func inspectOptions(c *cli.Context) (build.Options, error) {
	opts, err := preparedOptions(c)
	if err == nil && len(opts.FurtherTargets) > 0 {
		err = errors.New("there is one --target to look at")
	}
	if err != nil {
		return opts, usageError{err}
	}
	return opts, nil
}

// inspect evaluates a Dockerfile.
func inspect(c *cli.Context, opts build.Options, what build.Inspection) (*build.Inspected, error) {
	opts.Progress = "quiet"
	return build.Inspect(c.Context, opts, what)
}
