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
	}, acceptedFlags("Accepted for Kaniko's sake", kaniko.Flags())...)
}

// acceptedFlags are flags that change nothing.
func acceptedFlags(category string, accepted []kaniko.Accepted) []cli.Flag {
	var flags []cli.Flag
	for _, a := range accepted {
		usage := "no effect: " + a.Why
		switch a.Takes {
		case kaniko.Bool:
			flags = append(flags, &cli.BoolFlag{Category: category, Name: a.Name, Aliases: a.Aliases, Usage: usage})
		case kaniko.Text:
			flags = append(flags, &cli.StringFlag{Category: category, Name: a.Name, Aliases: a.Aliases, Usage: usage})
		case kaniko.Texts:
			flags = append(flags, &cli.StringSliceFlag{Category: category, Name: a.Name, Aliases: a.Aliases, Usage: usage})
		}
	}
	return flags
}

// kanikoNotices are what a user should know of flags and variables of Kaniko's that have no effect.
func kanikoNotices(c *cli.Context, accepted []kaniko.Accepted) []string {
	return append(kaniko.FlagNotices(accepted, c.IsSet), kaniko.VariableNotices(os.Environ())...)
}

// calledAs is the command that slipway is called for by its own name: Kaniko's image has "executor" and
// "warmer". "" for none.
func calledAs(program string) string {
	switch strings.TrimSuffix(filepath.Base(program), ".exe") {
	case "executor":
		return "build"
	case "warmer":
		return "cache warm"
	}
	return ""
}

// kanikoCall completes args as Kaniko is called: without a subcommand, or under the names of its programs. A build
// so called has Kaniko's build context, unless another is given.
func kanikoCall(app *cli.App, program string, args []string) []string {
	isHelp := len(args) > 0 && slices.Contains([]string{"-h", "--help", "-help"}, args[0])
	switch as := calledAs(program); {
	case len(args) > 0 && app.Command(args[0]) != nil:
		return args
	case as == "cache warm":
		return slices.Concat([]string{"cache", "warm"}, args)
	case as == "build", len(args) > 0 && strings.HasPrefix(args[0], "-") && !isHelp:
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
