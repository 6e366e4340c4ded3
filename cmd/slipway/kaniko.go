package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/internal/kaniko"
)

// kanikoContext is the build context of a call in Kaniko's manner that names none.
const kanikoContext = "/workspace/"

// kanikoFlags are flags of Kaniko's that no other builder has, and that mean something here.
func kanikoFlags() []cli.Flag {
	const category = "Kaniko's own"
	return append([]cli.Flag{
		&cli.StringFlag{Category: category, Name: "bucket", Aliases: []string{"b"}, Usage: "`BUCKET` of Google's storage with the build context, if there is no --context"},
		&cli.BoolFlag{Category: category, Name: "dryrun", Usage: "show what would be built, as slipway plan does, and build nothing"},
		&cli.StringSliceFlag{Category: category, Name: "ignore-path", Usage: "leave what steps have at `PATH` out of the image; each part of it may be a pattern"},
		&cli.StringFlag{Category: category, Name: "image-format", Usage: "media types of the image: oci or docker (default: oci)"},
		&cli.StringFlag{Category: category, Name: "log-format", Usage: "text, color or json, for --progress plain, auto or rawjson"},
		&cli.BoolFlag{Category: category, Name: "reproducible", Usage: "the same as --source-date-epoch 0"},
		&cli.BoolFlag{Category: category, Name: "single-snapshot", Usage: "make one layer of all that the build adds to the base image"},
	}, acceptedFlags(kaniko.Flags())...)
}

// acceptedFlags are flags that change nothing.
func acceptedFlags(accepted []kaniko.Accepted) []cli.Flag {
	const category = "Accepted for Kaniko's sake"
	var flags []cli.Flag
	for _, a := range accepted {
		usage := "no effect: " + a.Why
		switch a.Takes {
		case kaniko.Bool:
			flags = append(flags, &cli.BoolFlag{Category: category, Name: a.Name, Aliases: a.Aliases, Usage: usage})
		case kaniko.Text:
			flags = append(flags, &cli.StringFlag{Category: category, Name: a.Name, Aliases: a.Aliases, Usage: usage})
		}
	}
	return flags
}

// kanikoNotices are what a user should know of flags and variables of Kaniko's that have no effect.
func kanikoNotices(c *cli.Context) []string {
	return append(kaniko.FlagNotices(kaniko.Flags(), c.IsSet), kaniko.VariableNotices(os.Environ())...)
}

// kanikoCall completes args as Kaniko is called: without a subcommand, or under the names of its programs, executor and
// warmer. A build so called has Kaniko's build context, unless another is given.
func kanikoCall(app *cli.App, program string, args []string) []string {
	first := ""
	if len(args) > 0 {
		first = args[0]
	}
	name := strings.TrimSuffix(filepath.Base(program), ".exe")
	isHelp := slices.Contains([]string{"-h", "--help", "-help"}, first)
	switch {
	case app.Command(first) != nil:
		return args
	case name == "warmer":
		return slices.Concat([]string{"cache", "warm"}, args)
	case name == "executor", strings.HasPrefix(first, "-") && !isHelp:
		return slices.Concat([]string{"build", "--" + contextDefaultFlag + "=" + kanikoContext}, args)
	}
	return args
}

// progressMode is the display: that of --progress, or else what Kaniko's --log-format is nearest to.
func progressMode(c *cli.Context) (string, error) {
	modes := map[string]string{"": c.String("progress"), "text": "plain", "color": "auto", "json": "rawjson"}
	mode, ok := modes[c.String("log-format")]
	switch {
	case !ok:
		return "", fmt.Errorf("--log-format %q is not one of text, color, json", c.String("log-format"))
	case c.IsSet("progress"):
		return c.String("progress"), nil
	}
	return mode, nil
}
