package main

import (
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/build"
	"github.com/slipway-build/slipway/pkg/fanin"
	"github.com/slipway-build/slipway/results"
)

func indexCommand() *cli.Command {
	return &cli.Command{
		Name:         "index",
		Usage:        "join images of several platforms into an image index, and push it",
		ArgsUsage:    "[IMAGE...]",
		Flags:        withLists(indexFlags(), signFlags(), registryFlags(), pushFlags(), resultFlags()),
		OnUsageError: asUsageError,
		Action:       runIndex,
	}
}

func indexFlags() []cli.Flag {
	const category = "The index"
	return []cli.Flag{
		&cli.StringSliceFlag{Category: category, Name: "image", Usage: "`REFERENCE` of an image to join, or of an index whose images are; these come before those given as arguments"},
		tagFlag(category, "`REFERENCE` to push the index to"),
		&cli.StringSliceFlag{Category: category, Name: "platform", Usage: "`OS/ARCH[/VARIANT]` that is expected: if one is missing, or an image is for another one, nothing is pushed"},
		&cli.StringSliceFlag{Category: category, Name: "annotation", Usage: "`KEY=VALUE` to add to the index; \"manifest-descriptor:KEY=VALUE\" adds it to its entries"},
		&cli.BoolFlag{Category: category, Name: "no-push", Usage: "only check, and print the index"},
	}
}

func runIndex(c *cli.Context) error {
	err := join(c)
	if err != nil {
		return build.WriteFailure(c.Context, c.String("results-dir"), c.StringSlice("result"), nil, err)
	}
	return nil
}

func join(c *cli.Context) error {
	opts, err := indexOptions(c)
	if err != nil {
		return &build.UsageError{Err: err}
	}
	j, err := fanin.New(c.Context, opts)
	if err != nil {
		return build.SignerError(c.Context, err)
	}
	_, err = j.Run(c.Context)
	return err
}

// indexOptions turns the flags into the options of a joining.
func indexOptions(c *cli.Context) (fanin.Options, error) {
	o := fanin.Options{
		Images:      slices.Concat(c.StringSlice("image"), c.Args().Slice()),
		Tags:        c.StringSlice("tag"),
		Annotations: c.StringSlice("annotation"),
		Platforms:   splitCommas(c.StringSlice("platform")),
		NoPush:      c.Bool("no-push"),
		Stdout:      c.App.Writer,
		Progress:    c.App.ErrWriter,
	}
	var err error
	if o.Registry, err = registryOptions(c); err != nil {
		return fanin.Options{}, err
	}
	if o.Sign, err = signOptions(c, signMethod(c)); err != nil {
		return fanin.Options{}, err
	}
	o.Results, err = resultFiles(c)
	return o, err
}

// resultFiles says where the flags want results.
func resultFiles(c *cli.Context) (results.Files, error) {
	f := results.Files{
		Dir:               c.String("results-dir"),
		DigestFile:        c.String("digest-file"),
		NameDigestFile:    c.String("image-name-with-digest-file"),
		NameTagDigestFile: c.String("image-name-tag-with-digest-file"),
		Stdout:            c.App.Writer,
		Stderr:            c.App.ErrWriter,
	}
	for _, r := range c.StringSlice("result") {
		named, err := results.ParseNamed(r)
		if err != nil {
			return results.Files{}, err
		}
		f.Named = append(f.Named, named)
	}
	return f, nil
}
