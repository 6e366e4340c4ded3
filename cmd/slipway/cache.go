package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/docker/go-units"
	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/location"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/state"
)

func cacheCommand() *cli.Command {
	return &cli.Command{
		Name:         "cache",
		Usage:        "look after caches",
		OnUsageError: asUsageError,
		Subcommands:  []*cli.Command{cacheWarmCommand(), cachePruneCommand()},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usageErrorf("unknown command \"cache %s\"; see slipway cache --help", c.Args().First())
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

func cachePruneCommand() *cli.Command {
	return &cli.Command{
		Name:         "prune",
		Usage:        "remove what is old or too much from caches, or from a state directory",
		ArgsUsage:    "[CACHE...]",
		Flags:        withLists(pruneFlags(), registryFlags()),
		OnUsageError: asUsageError,
		Action:       runCachePrune,
	}
}

func pruneFlags() []cli.Flag {
	const category = "What is removed"
	return []cli.Flag{
		&cli.DurationFlag{Category: category, Name: "max-age", Usage: "what has been there, or in a state directory unused, for longer than `DURATION`, as 336h"},
		&cli.StringFlag{Category: category, Name: "max-size", Usage: "the oldest, or longest unused, until all is no larger than `SIZE`, as 20g"},
		&cli.DurationFlag{Category: category, Name: "grace", Value: time.Hour, Usage: "spare blobs that nothing refers to if they are younger than `DURATION`: a build may be about to"},
		&cli.BoolFlag{Category: category, Name: "dry-run", Usage: "only say what would be removed"},
		cloudCredentialsFlag("Cache"),
		// Without the environment variable of other commands: who prunes a cache does not mean that directory.
		&cli.StringFlag{Category: category, Name: "state-dir", Usage: "look after this state `DIR` too; builds may be using it"},
	}
}

// stateKinds are what a state directory keeps between builds but for cache mounts, which users fill.
func stateKinds() []string {
	return []string{"blobs", "tars", "indexes", "unpacked", "downloads", "download-records", "git"}
}

func runCachePrune(c *cli.Context) error {
	size, err := maxSize(c)
	if err != nil {
		return usageError{err}
	}
	caches := c.Args().Slice()
	if len(caches) == 0 && c.String("state-dir") == "" {
		return usageErrorf("say which cache to prune, or use --state-dir")
	}
	if c.Duration("max-age") < 0 || c.Duration("grace") < 0 {
		return usageErrorf("--max-age and --grace are not negative")
	}
	if err := setCloudCredentials(c); err != nil {
		return usageError{err}
	}
	for _, spec := range caches {
		if err := pruneCache(c, spec, size); err != nil {
			return err
		}
	}
	if dir := c.String("state-dir"); dir != "" {
		return pruneState(c, dir, size)
	}
	return nil
}

func maxSize(c *cli.Context) (int64, error) {
	text := c.String("max-size")
	if text == "" {
		return 0, nil
	}
	size, err := units.RAMInBytes(text)
	if err != nil || size <= 0 {
		return 0, fmt.Errorf("--max-size %q is not a size such as 500m or 20g", text)
	}
	return size, nil
}

func pruneCache(c *cli.Context, spec string, size int64) error {
	o, err := registryOptions(c)
	if err != nil {
		return usageError{err}
	}
	client, err := registry.New(c.Context, o)
	if err != nil {
		return usageError{err}
	}
	store, err := location.Open(c.Context, spec, location.Options{Registry: client, Existing: true})
	if err != nil {
		return usageError{err}
	}
	prunable, ok := store.(cache.Prunable)
	if !ok {
		return usageErrorf("%s cannot be pruned", store)
	}
	report, err := cache.Prune(c.Context, prunable, cache.PruneOptions{
		MaxAge: c.Duration("max-age"), MaxSize: size, Grace: c.Duration("grace"), DryRun: c.Bool("dry-run"), Now: time.Now(),
	})
	if err != nil {
		return err
	}
	return printPruned(c.App.Writer, store.String(), report, c.Bool("dry-run"))
}

func printPruned(w io.Writer, store string, r *cache.PruneReport, dry bool) error {
	removed := did(dry)
	for _, e := range r.Removed {
		age := "of unknown age"
		if !e.Created.IsZero() {
			age = e.Created.UTC().Format(time.RFC3339)
		}
		if _, err := fmt.Fprintf(w, "%s %s, %s, %s: %s\n", removed, e.Name, age, units.BytesSize(float64(e.Size)), e.Step); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s: %s %d entries, %s freed; %d entries stay, %s", store, removed, len(r.Removed),
		units.BytesSize(float64(r.Freed)), r.Kept, units.BytesSize(float64(r.KeptSize)))
	if err == nil && r.Foreign > 0 {
		_, err = fmt.Fprintf(w, "; %d that are not Slipway's are not touched", r.Foreign)
	}
	_, newline := fmt.Fprintln(w)
	return errors.Join(err, newline)
}

func did(dry bool) string {
	if dry {
		return "would remove"
	}
	return "removed"
}

func pruneState(c *cli.Context, path string, size int64) (err error) {
	dir, err := state.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	objects, kept, err := dir.Prune(c.Context, state.PruneOptions{
		Kinds: stateKinds(), MaxAge: c.Duration("max-age"), MaxSize: size, DryRun: c.Bool("dry-run"),
	})
	var freed int64
	for _, x := range objects {
		freed += x.Size
		if _, err := fmt.Fprintf(c.App.Writer, "%s %s/%s, used last %s, %s\n", did(c.Bool("dry-run")), x.Kind, x.Name,
			x.Used.UTC().Format(time.RFC3339), units.BytesSize(float64(x.Size))); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: %s %d objects, %s freed; %s stay\n", path, did(c.Bool("dry-run")), len(objects),
		units.BytesSize(float64(freed)), units.BytesSize(float64(kept)))
	return err
}
