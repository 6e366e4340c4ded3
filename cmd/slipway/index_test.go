package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/fanin"
	"github.com/slipway-build/slipway/pkg/sign"
)

// joinOptions parses a command line as "slipway index" does.
func joinOptions(t *testing.T, args ...string) (fanin.Options, error) {
	t.Helper()
	var (
		o   fanin.Options
		err error
	)
	app := newApp(nil, &strings.Builder{}, &strings.Builder{})
	app.Command("index").Action = func(c *cli.Context) error {
		o, err = indexOptions(c)
		return nil
	}
	args, normErr := normalizeArgs(app, slices.Concat([]string{"slipway", "index"}, args))
	if normErr != nil {
		return o, normErr
	}
	if runErr := app.Run(args); runErr != nil {
		return o, runErr
	}
	return o, err
}

func TestIndexOptions(t *testing.T) {
	o, err := joinOptions(t, "c", "-t", "a:1", "--image", "a", "d", "-d", "b:2", "--image=b", "--platform", "linux/amd64,linux/arm64",
		"--annotation", "k=1,2", "--no-push", "--insecure-registry", "r:5000", "--skip-tls-verify",
		"--results-dir", "/r", "--result", "IMAGE_REF=/ref", "--digest-file", "/digest")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ got, want []string }{
		{o.Images, []string{"a", "b", "c", "d"}},
		{o.Tags, []string{"a:1", "b:2"}},
		{o.Platforms, []string{"linux/amd64", "linux/arm64"}},
		{o.Annotations, []string{"k=1,2"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
	if !o.NoPush || !o.Registry.Hosts["r:5000"].PlainHTTP || !o.Registry.Push.SkipTLSVerify || !o.Registry.Pull.SkipTLSVerify {
		t.Errorf("got %+v", o)
	}
	if r := o.Results; r.Dir != "/r" || r.DigestFile != "/digest" || len(r.Named) != 1 || r.Named[0].Path != "/ref" {
		t.Errorf("results %+v", r)
	}
	for method, args := range map[sign.Method][]string{
		sign.None: {}, sign.Key: {"--sign-key", "/key"}, sign.Keyless: {"--sign=keyless"},
	} {
		if o, err := joinOptions(t, append(args, "a")...); err != nil || o.Sign.Method != method {
			t.Errorf("%q: signs with %s, %v", args, o.Sign.Method, err)
		}
	}
	for want, args := range map[string][]string{
		"--sign x":             {"--sign=x", "a"},
		"there is no result X": {"--result", "X=/x", "a"},
		"Did you mean":         {"--anotation", "x=y"},
		"not of the form":      {"--registry-certificate", "x"},
	} {
		if _, err := joinOptions(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", args, err, want)
		}
	}
}
