package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/internal/kaniko"
	"github.com/slipway-build/slipway/pkg/bases"
)

// warmed parses a command line as "slipway cache warm" does.
func warmed(t *testing.T, args ...string) (o bases.Options, notices []string) {
	t.Helper()
	var err error
	app := newApp(nil, &strings.Builder{}, &strings.Builder{})
	i := slices.IndexFunc(app.Command("cache").Subcommands, func(c *cli.Command) bool { return c.Name == "warm" })
	app.Command("cache").Subcommands[i].Action = func(c *cli.Context) error {
		notices = kaniko.FlagNotices(kaniko.WarmerFlags(), c.IsSet)
		o, err = warmOptions(c)
		return err
	}
	args, err = normalizeArgs(app, slices.Concat([]string{"slipway", "cache", "warm"}, args))
	if err != nil {
		t.Fatal(err)
	}
	if err := app.Run(args); err != nil {
		t.Fatal(err)
	}
	return o, notices
}

// The flags and their letters are those of Kaniko's warmer.
func TestWarmOptions(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"a", "[a]  map[] [] /cache 336h0m0s false"},
		{"-i a --image=b c -d File -c /dir -f", "[a b c] File map[] [] /dir 336h0m0s true"},
		{"--dockerfile File --build-arg A=1,2 --customPlatform linux/arm64 --cache-ttl 0", "[] File map[A:1,2] [linux/arm64] /cache 0s false"},
		{"--images a b --platforms linux/arm64 linux/amd64 --build-args A=1", "[a b]  map[A:1] [linux/arm64 linux/amd64] /cache 336h0m0s false"},
		{"-i a -v debug --log-format json --log-timestamp", "[a]  map[] [] /cache 336h0m0s false"},
		{"-i a --dockerfile= --cache-dir= --cache-ttl=", "[a]  map[] [] /cache 336h0m0s false"},
	} {
		o, _ := warmed(t, strings.Fields(test.args)...)
		got := fmt.Sprint(o.Images, " ", o.Dockerfile, " ", o.BuildArgs, " ", o.Platforms, " ", o.Dir, " ", o.TTL, " ", o.Force)
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.args, got, test.want)
		}
	}
	if o, _ := warmed(t, "--context=/workspace/source", "-d", "Dockerfile"); o.Context != "/workspace/source" {
		t.Errorf("context is %q", o.Context)
	}
	if o, _ := warmed(t, "-d", "File", "--build-context", "lib=../lib"); o.BuildContexts["lib"] != "../lib" {
		t.Errorf("build contexts are %v", o.BuildContexts)
	}
	o, _ := warmed(t, "-i", "a", "--context=", "--skip-tls-verify-pull", "--insecure-registry", "r", "--cache-ttl", "1h")
	if !o.Registry.Pull.SkipTLSVerify || !o.Registry.Hosts["r"].PlainHTTP || o.TTL != time.Hour {
		t.Errorf("registries are %+v", o.Registry)
	}
}

func TestDirectoryOfBaseImages(t *testing.T) {
	o, err := options(t, "--cache-dir", "/some/dir")
	if err != nil || o.Registry.WarmDir != "/some/dir" {
		t.Errorf("got %q, %v", o.Registry.WarmDir, err)
	}
}
