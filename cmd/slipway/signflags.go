package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/sign"
)

// signFlags say how something is signed, for all commands that do.
func signFlags() []cli.Flag {
	const category = "Signing"
	return []cli.Flag{
		&cli.StringFlag{Category: category, Name: "sign", Usage: "none, key or keyless"},
		&cli.StringFlag{Category: category, Name: "sign-key", Usage: "`PLACE` of the private key: a file, a directory with cosign.key and cosign.password, or env://NAME; the password can be in $COSIGN_PASSWORD"},
		&cli.StringFlag{Category: category, Name: "sign-dir", Usage: "`DIR` with files that stand for flags, as a mounted Secret: cosign.key and cosign.password, oidc-token, signing_config.json, trusted_root.json"},
		&cli.StringFlag{Category: category, Name: "sign-format", Value: string(sign.Signature), Usage: "signature for cosign's tags .sig and .att, bundle for manifests that refer to the image"},
		&cli.StringSliceFlag{Category: category, Name: "sign-annotation", Usage: "`KEY=VALUE` that is signed with the image"},
		&cli.BoolFlag{Category: category, Name: "tlog", Usage: "enter signatures into the transparency log (default: if signing is keyless, or a log is given)"},
		&cli.StringFlag{Category: category, Name: "fulcio-url", Usage: "`URL` of the certificate authority (default: Sigstore's public one)"},
		&cli.StringFlag{Category: category, Name: "rekor-url", Usage: "`URL` of the transparency log (default: Sigstore's public one)"},
		&cli.StringFlag{Category: category, Name: "tsa-url", Usage: "`URL` of a timestamp authority, with its path (default: none)"},
		&cli.StringFlag{Category: category, Name: "signing-config", Usage: "`FILE` that names these services, as signing_config.v0.2.json"},
		&cli.StringFlag{Category: category, Name: "trusted-root", Usage: "`FILE` with the services' keys, trusted_root.json: signatures are verified before they are stored"},
		&cli.StringFlag{Category: category, Name: "identity-token-file", Usage: "`FILE` with the identity token for keyless signing (default: what the environment has)"},
	}
}

// signMethod is how images are signed that are pushed, if --sign does not say it: with a key, if one is given.
func signMethod(c *cli.Context) sign.Method {
	if c.String("sign-key") != "" {
		return sign.Key
	}
	return sign.None
}

// fromSignDir takes what no flag gives from the files of a directory.
func fromSignDir(o *sign.Options, dir string) error {
	if dir == "" {
		return nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("--sign-dir %s: %w", dir, errors.Join(err, errors.New("it is no directory")))
	}
	for _, f := range []struct {
		name   string
		wanted bool
		option *string
		value  string
	}{
		{"cosign.key", o.Method == sign.Key, &o.Key, dir}, // with its password
		{"oidc-token", o.Method == sign.Keyless, &o.IdentityToken, filepath.Join(dir, "oidc-token")},
		{"signing_config.json", o.FulcioURL+o.RekorURL+o.TSAURL == "", &o.SigningConfig, filepath.Join(dir, "signing_config.json")},
		{"trusted_root.json", true, &o.TrustedRoot, filepath.Join(dir, "trusted_root.json")},
	} {
		if !f.wanted || *f.option != "" {
			continue
		}
		_, err := os.Stat(filepath.Join(dir, f.name))
		switch {
		case err == nil:
			*f.option = f.value
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("--sign-dir: %w", err)
		}
	}
	return nil
}

// signOptions turns those flags into options. otherwise is the method where --sign is not given.
func signOptions(c *cli.Context, otherwise sign.Method) (sign.Options, error) {
	o := sign.Options{
		Method:        sign.Method(c.String("sign")),
		Key:           c.String("sign-key"),
		FulcioURL:     c.String("fulcio-url"),
		RekorURL:      c.String("rekor-url"),
		TSAURL:        c.String("tsa-url"),
		SigningConfig: c.String("signing-config"),
		TrustedRoot:   c.String("trusted-root"),
		IdentityToken: c.String("identity-token-file"),
		Format:        sign.Format(c.String("sign-format")),
	}
	if o.Method == "" {
		o.Method = otherwise
	}
	if o.Method != sign.None && o.Method != sign.Key && o.Method != sign.Keyless {
		return o, fmt.Errorf("--sign %s is not one of %s, %s, %s", o.Method, sign.None, sign.Key, sign.Keyless)
	}
	if err := fromSignDir(&o, c.String("sign-dir")); err != nil {
		return o, err
	}
	if o.Format == "" { // as for slipway plan and lint, which have no such flag
		o.Format = sign.Signature
	}
	if o.Format != sign.Signature && o.Format != sign.Bundle {
		return o, fmt.Errorf("--sign-format %s is not one of %s, %s", o.Format, sign.Signature, sign.Bundle)
	}
	if c.IsSet("tlog") {
		tlog := c.Bool("tlog")
		o.Tlog = &tlog
	}
	for _, a := range c.StringSlice("sign-annotation") {
		key, value, ok := strings.Cut(a, "=")
		if !ok || key == "" {
			return o, fmt.Errorf("--sign-annotation %q is not of the form KEY=VALUE", a)
		}
		if o.Annotations == nil {
			o.Annotations = map[string]string{}
		}
		o.Annotations[key] = value
	}
	return o, nil
}
