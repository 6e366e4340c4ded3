package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/build"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/sign"
)

func signCommand() *cli.Command {
	return &cli.Command{
		Name:         "sign",
		Usage:        "sign images that registries have, as cosign does",
		ArgsUsage:    "IMAGE...",
		Flags:        withLists([]cli.Flag{recursiveFlag(true, "sign the images in an index, too")}, signFlags(), registryFlags(), []cli.Flag{pushRetryFlag("Registries")}),
		OnUsageError: asUsageError,
		Action:       runSign,
	}
}

func attestCommand() *cli.Command {
	const category = "The statement"
	return &cli.Command{
		Name:      "attest",
		Usage:     "sign a statement about images that registries have, such as an SBOM, as cosign does",
		ArgsUsage: "IMAGE...",
		Flags: withLists([]cli.Flag{
			&cli.StringFlag{Category: category, Name: "predicate", Usage: "`FILE` with what is stated; - for standard input"},
			&cli.StringFlag{Category: category, Name: "type", Value: "custom", Usage: "of the predicate: custom, slsaprovenance, slsaprovenance1, spdx, spdxjson, cyclonedx, link, vuln, openvex or a URI"},
			recursiveFlag(false, "state it about each image in an index, too"),
		}, signFlags(), registryFlags(), []cli.Flag{pushRetryFlag("Registries")}),
		OnUsageError: asUsageError,
		Action:       runAttest,
	}
}

func recursiveFlag(value bool, usage string) cli.Flag {
	return &cli.BoolFlag{Name: "recursive", Value: value, Usage: usage}
}

func runSign(c *cli.Context) error {
	return signEach(c, (*sign.Signer).Sign)
}

func runAttest(c *cli.Context) error {
	kind := c.String("type")
	if err := sign.CheckPredicateType(kind); err != nil {
		return usageErrorf("--type: %w", err)
	}
	if len(c.StringSlice("sign-annotation")) > 0 {
		return usageErrorf("--sign-annotation is for signatures of images; what is stated is in the predicate")
	}
	predicate, err := readPredicate(c)
	if err != nil {
		return usageError{err}
	}
	return signEach(c, func(s *sign.Signer, ctx context.Context, subject name.Digest) error {
		statement, err := sign.Statement(subject, kind, predicate)
		if err != nil {
			return usageErrorf("--predicate %s: %w", c.String("predicate"), err)
		}
		return s.Attest(ctx, subject, statement)
	})
}

func readPredicate(c *cli.Context) ([]byte, error) {
	switch file := c.String("predicate"); file {
	case "":
		return nil, errors.New("say with --predicate what is stated")
	case "-":
		return io.ReadAll(c.App.Reader)
	default:
		return os.ReadFile(file)
	}
}

// signEach calls do for what the arguments name. All of them are found before anything is signed.
func signEach(c *cli.Context, do func(*sign.Signer, context.Context, name.Digest) error) error {
	if !c.Args().Present() {
		return usageErrorf("say which image; see slipway %s --help", c.Command.Name)
	}
	opts, err := registryOptions(c)
	if err != nil {
		return usageError{err}
	}
	say := func(line string) { fmt.Fprintln(c.App.ErrWriter, line) }
	opts.Warn = say
	client, err := registry.New(c.Context, opts)
	if err != nil {
		return usageError{err}
	}
	signer, err := newSigner(c, client, say)
	if err != nil {
		return err
	}
	var all []name.Digest
	for _, ref := range c.Args().Slice() {
		subjects, err := sign.Subjects(c.Context, client, ref, c.Bool("recursive"))
		if err != nil {
			return err
		}
		all = append(all, subjects...)
	}
	for _, subject := range all {
		if err := do(signer, c.Context, subject); err != nil {
			return err
		}
	}
	return nil
}

// newSigner is the signer that the flags ask for: with a key if one is given, as for cosign.
func newSigner(c *cli.Context, client *registry.Client, say func(string)) (*sign.Signer, error) {
	otherwise := sign.Keyless
	if c.String("sign-key") != "" {
		otherwise = sign.Key
	}
	o, err := signOptions(c, otherwise)
	if err == nil && o.Method == sign.None {
		err = fmt.Errorf("--sign=%s leaves slipway %s nothing to do", o.Method, c.Command.Name)
	}
	if err != nil {
		return nil, usageError{err}
	}
	o.Log = say
	s, err := sign.New(c.Context, o, client)
	return s, build.SignerError(c.Context, err)
}
