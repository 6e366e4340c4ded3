package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/internal/kaniko"
	"github.com/slipway-build/slipway/pkg/bases"
	"github.com/slipway-build/slipway/pkg/policy"
)

// Where Kaniko keeps base images, and for how long its caches hold.
const (
	defaultCacheDir = "/cache"
	defaultCacheTTL = 14 * 24 * time.Hour
)

func cacheWarmCommand() *cli.Command {
	return &cli.Command{
		Name:         "warm",
		Usage:        "fetch base images into a directory from which builds take them",
		ArgsUsage:    "[IMAGE...]",
		Flags:        withLists(warmFlags(), registryFlags(), pullFlags(), acceptedFlags(kaniko.WarmerFlags())),
		OnUsageError: asUsageError,
		Action:       runCacheWarm,
	}
}

// warmFlags have the names and letters of Kaniko's warmer, where -d and -c mean other things than in a build.
func warmFlags() []cli.Flag {
	const category = "What is fetched"
	return append([]cli.Flag{
		&cli.StringSliceFlag{Category: category, Name: "image", Aliases: []string{"i"}, Usage: "`REFERENCE` of an image to fetch; these come before those given as arguments"},
		&cli.StringFlag{Category: category, Name: "dockerfile", Aliases: []string{"d"}, Usage: "`FILE` of which to fetch the images that it names: in FROM, COPY --from and RUN --mount=from"},
		&cli.StringFlag{Category: category, Name: contextFlag, Usage: "`DIR` that a relative --dockerfile is below (default: the working directory)"},
		&cli.StringSliceFlag{Category: category, Name: "build-arg", Usage: "value of an ARG that FROM uses: `NAME=VALUE`, or NAME to take it from the environment"},
		&cli.StringSliceFlag{Category: category, Name: "build-context", Usage: "what builds of it take in place of an image: `NAME=VALUE`; it is fetched if VALUE is docker-image://REF"},
		&cli.StringSliceFlag{Category: category, Name: "platform", Aliases: []string{"custom-platform", "customPlatform"}, Usage: "`OS/ARCH[/VARIANT]` to fetch for (default: this machine's)"},
		&cli.StringFlag{Category: category, Name: "cache-dir", Aliases: []string{"c"}, Value: defaultCacheDir, Usage: "`DIR` to keep them in"},
		&cli.DurationFlag{Category: category, Name: "cache-ttl", Value: defaultCacheTTL, Usage: "`AGE` at which what is there is fetched again; 0 for never"},
		&cli.BoolFlag{Category: category, Name: "force", Aliases: []string{"f"}, Usage: "fetch again what is there, whatever its age"},
	}, policyFlags(category)...)
}

func runCacheWarm(c *cli.Context) error {
	o, err := warmOptions(c)
	if err != nil {
		return usageError{err}
	}
	for _, n := range kaniko.FlagNotices(kaniko.WarmerFlags(), c.IsSet) {
		fmt.Fprintln(c.App.ErrWriter, "slipway: "+n)
	}
	w, err := bases.New(c.Context, o)
	if err != nil {
		return usageError{err}
	}
	return w.Run(c.Context)
}

func warmOptions(c *cli.Context) (bases.Options, error) {
	o := bases.Options{
		Images:     slices.Concat(c.StringSlice("image"), c.Args().Slice()),
		Dockerfile: c.String("dockerfile"),
		Context:    c.String(contextFlag),
		Platforms:  splitCommas(c.StringSlice("platform")),
		Dir:        c.String("cache-dir"),
		TTL:        c.Duration("cache-ttl"),
		Force:      c.Bool("force"),
		Log:        c.App.ErrWriter,
	}
	if o.TTL < 0 {
		return o, errors.New("--cache-ttl is not negative")
	}
	var err error
	if o.BuildArgs, err = buildArgs(c.StringSlice("build-arg")); err != nil {
		return o, err
	}
	if o.BuildContexts, err = pairs("build-context", c.StringSlice("build-context"), true); err != nil {
		return o, err
	}
	o.PolicyMode = c.String("policy-mode")
	if o.PolicyFile, err = policy.File(c.String("policy"), c.String("policy-dir")); err != nil {
		return o, err
	}
	o.Registry, err = pullOptions(c)
	return o, err
}

// cacheDirFlag is the reading side's flag.
func cacheDirFlag(category string) cli.Flag {
	return &cli.StringFlag{Category: category, Name: "cache-dir", Usage: "`DIR` of base images that slipway cache warm fetched (default: " + defaultCacheDir + ", if it is one)"}
}

// warmDir is the directory of base images that a build reads; "" for none.
func warmDir(c *cli.Context) string {
	if dir := c.String("cache-dir"); dir != "" {
		return dir
	}
	if _, err := os.Stat(filepath.Join(defaultCacheDir, "oci-layout")); err != nil {
		return ""
	}
	return defaultCacheDir
}
