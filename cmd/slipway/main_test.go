package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/build"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/results"
)

func TestNormalizeArgs(t *testing.T) {
	app := newApp(nil, nil, nil)
	for in, want := range map[string]string{
		"slipway":                               "slipway",
		"slipway --help":                        "slipway --help",
		"slipway version":                       "slipway version",
		"slipway build -t a .":                  "slipway build --tag a .",
		"slipway build . -t a":                  "slipway build --tag a .",
		"slipway build . --no-cache -t a":       "slipway build --no-cache --tag a .",
		"slipway build --no-cache . -t=a":       "slipway build --no-cache --tag=a .",
		"slipway build -- -odd-dir":             "slipway build -- -odd-dir",
		"slipway -d a -c /w":                    "slipway build --context-default=/workspace/ --tag a --context /w",
		"slipway --destination=a --context=/w":  "slipway build --context-default=/workspace/ --tag=a --context=/w",
		"/kaniko/executor -d a":                 "/kaniko/executor build --context-default=/workspace/ --tag a",
		"/kaniko/executor":                      "/kaniko/executor build --context-default=/workspace/",
		"/kaniko/warmer -i a":                   "/kaniko/warmer cache warm --image a",
		"/kaniko/executor version":              "/kaniko/executor version",
		"slipway build -f - .":                  "slipway build --file - .",
		"slipway build --target= --no-push= .":  "slipway build .",
		"slipway build -t a --context=":         "slipway build --context= --tag a",
		"slipway build --context=a --context=":  "slipway build --context= --context=a",
		"slipway build --credential-helpers= .": "slipway build --credential-helpers= .",
		"slipway cache":                         "slipway cache",
		"slipway cache prune /c --max-age 1h":   "slipway cache prune --max-age 1h /c",
		"slipway cache warm a -c /c -i b -f":    "slipway cache warm --cache-dir /c --image b --force a",
	} {
		got, err := normalizeArgs(app, strings.Fields(in))
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q became %q, %v, want %q", in, got, err, want)
		}
	}
	got, err := normalizeArgs(app, []string{"slipway", "build", "--target", "", "-t", "a"})
	if want := []string{"slipway", "build", "--tag", "a"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("an empty value became %q, %v, want %q", got, err, want)
	}
}

// options parses a command line as "slipway build" does.
func options(t *testing.T, args ...string) (build.Options, error) {
	t.Helper()
	return parsed(t, buildOptions, args...)
}

// parsed gives what read makes of a build's command line.
func parsed(t *testing.T, read func(*cli.Context) (build.Options, error), args ...string) (build.Options, error) {
	t.Helper()
	var (
		o   build.Options
		err error
	)
	app := newApp(nil, &strings.Builder{}, &strings.Builder{})
	cmd := app.Command("build")
	cmd.Action = func(c *cli.Context) error {
		o, err = read(c)
		return nil
	}
	args, normErr := normalizeArgs(app, slices.Concat([]string{"slipway", "build"}, args))
	if normErr != nil {
		return o, normErr
	}
	if runErr := app.Run(args); runErr != nil {
		return o, runErr
	}
	return o, err
}

func TestBuildOptions(t *testing.T) {
	t.Setenv("FROM_ENV", "x")
	o, err := options(t, "-t", "a:1", "-d", "b:2", "--destination=c:3",
		"--build-arg", "A=1,2", "--build-arg", "FROM_ENV", "--build-arg", "NOT_SET",
		"--platform", "linux/amd64,linux/arm64", "--label", "k=v=w", "--compression-level", "0",
		"--insecure-registry", "r:5000", "--registry-certificate", "r:5000=/ca", "ctx")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a:1", "b:2", "c:3"}; !slices.Equal(o.Tags, want) {
		t.Errorf("tags %q, want %q", o.Tags, want)
	}
	if got := fmt.Sprint(o.BuildArgs); got != "map[A:1,2 FROM_ENV:x]" {
		t.Errorf("build args %s: commas belong to the value, and a name that is not set is left out", got)
	}
	if want := []string{"linux/amd64", "linux/arm64"}; !slices.Equal(o.Platforms, want) {
		t.Errorf("platforms %q", o.Platforms)
	}
	if o.Labels["k"] != "v=w" || o.Context != "ctx" || o.CompressionLevel == nil || *o.CompressionLevel != 0 {
		t.Errorf("got %+v", o)
	}
	if h := o.Registry.Hosts["r:5000"]; !h.PlainHTTP || h.CAFile != "/ca" {
		t.Errorf("registry %+v", h)
	}
}

// The variable by which docker buildx finds a policy is heeded, lest one that was set is not; the flag wins.
func TestSourcePolicyOfEnvironment(t *testing.T) {
	t.Setenv("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY", "/from/environment")
	for want, args := range map[string][]string{"/from/environment": nil, "/from/flag": {"--source-policy-file", "/from/flag"}} {
		if o, err := options(t, args...); err != nil || o.SourcePolicyFile != want {
			t.Errorf("%q: policy %q, %v; want %q", args, o.SourcePolicyFile, err, want)
		}
	}
}

// The modes of cache mounts count in the order in which lists have them, and nothing at all is none.
func TestCacheMountModes(t *testing.T) {
	for _, test := range []struct {
		args  []string
		modes []string
		size  string
	}{
		{args: []string{"--cache-mount-max-size=", "--cache-mount-modes", "--extra-args"}},
		{args: []string{"--cache-mount-max-size=2g", "--cache-mount-modes", "off", "go=both"}, modes: []string{"off", "go=both"}, size: "2g"},
		{args: []string{`--cache-mount-modes=["both","a,b=save"]`}, modes: []string{"both", "a,b=save"}},
		{args: []string{`--cache-mount-modes=[]`, "--extra-args", "--cache-mounts=both"}, modes: []string{"both"}},
	} {
		o, err := options(t, test.args...)
		if err != nil || !slices.Equal(o.Cache.Mounts, test.modes) || o.Cache.MountMaxSize != test.size {
			t.Errorf("%q: modes %q, size %q, %v; want %+v", test.args, o.Cache.Mounts, o.Cache.MountMaxSize, err, test)
		}
	}
}

// Of the places that are given for the cache and the policy, the last that is not empty counts, as the Task needs it.
func TestCacheAndPolicyPlaces(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "policy.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args     []string
		from, to []string
		policy   string
	}{
		{args: []string{"--cache=false", "--cache-repo=/volume", "--cache-ttl="}},
		{args: []string{"--cache=true", "--cache-repo=/volume", "--cache-repo="}, from: []string{"/volume"}, to: []string{"/volume"}},
		{args: []string{"--cache=true", "--cache-repo=/volume", "--cache-repo=r/c"}, from: []string{"r/c"}, to: []string{"r/c"}},
		{args: []string{"--cache=true", "--cache-repo=", "-t", "r.example.com/a:1"}, from: []string{"r.example.com/a/cache"}, to: []string{"r.example.com/a/cache"}},
		{args: []string{"--caches-from", "r/a", "/b", "--caches-to", "r/c"}, from: []string{"r/a", "/b"}, to: []string{"r/c"}},
		{args: []string{`--caches-from=["r/a"]`, `--caches-to=["/b"]`, "--no-push-cache"}, from: []string{"r/a"}},
		{args: []string{"--source-policy-dir=", "--source-policy-file=a"}, policy: "a"},
		{args: []string{"--source-policy-dir=" + dir, "--source-policy-file="}, policy: filepath.Join(dir, "policy.json")},
	} {
		o, err := options(t, test.args...)
		if err != nil || !slices.Equal(o.Cache.From, test.from) || !slices.Equal(o.Cache.To, test.to) || o.SourcePolicyFile != test.policy {
			t.Errorf("%q: from %q, to %q, policy %q, %v; want %+v", test.args, o.Cache.From, o.Cache.To, o.SourcePolicyFile, err, test)
		}
	}
}

// Credentials of clouds are found by their clients, and by no --build-arg.
func TestCloudCredentials(t *testing.T) {
	const name = "AWS_SECRET_ACCESS_KEY"
	dir := cloudCredentials(t, map[string]string{name: "hidden\n"})
	o, err := parsed(t, preparedOptions, "--cloud-credentials-dir", dir, "--build-arg", name)
	if _, ok := o.BuildArgs[name]; ok || err != nil {
		t.Errorf("build args %v, %v", o.BuildArgs, err)
	}
	if os.Getenv(name) != "hidden" {
		t.Errorf("the environment has %q", os.Getenv(name))
	}
	if _, err := parsed(t, preparedOptions, "--cloud-credentials-dir", filepath.Join(dir, "missing")); err == nil {
		t.Error("a directory that is not there is passed over")
	}
}

// cloudCredentials makes a directory of variables, which are not set yet and are as before afterwards.
func cloudCredentials(t *testing.T, variables map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, value := range variables {
		t.Setenv(name, "") // for the test's end
		if err := errors.Join(os.Unsetenv(name), os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBuildOptionErrors(t *testing.T) {
	for want, args := range map[string][]string{
		"one build context":  {"a", "b"},
		"given twice":        {"-c", "a", "b"},
		"no build context":   {"--context=", "--tag=a"},
		"not of the form":    {"--build-context", "x"},
		"number of seconds":  {"--source-date-epoch", "yesterday"},
		"exclude each other": {"--push", "--no-push"},
		"needs a --tag":      {"--push"},
		"Did you mean":       {"--build-argh", "x=y"},
		"unknown key":        {"--secret", "id=a,path=b"},
	} {
		_, err := options(t, args...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", args, err, want)
		}
	}
}

// Of what is wrong with a command line, the error names what was meant.
func TestUsageErrors(t *testing.T) {
	for args, want := range map[string]string{
		"buidl .":                        `unknown command "buidl". Did you mean "build"?`,
		"xyzzy":                          `unknown command "xyzzy"; see slipway --help`,
		"build --destnation=a":           "unknown flag --destnation. Did you mean --destination?",
		"plan -o json":                   "unknown flag -o. Did you mean",
		"build -t":                       "--tag needs a value",
		"build --cache-ttl=2d":           `invalid value "2d" for --cache-ttl: it takes a time in hours`,
		"build --cache=-t:no":            `invalid boolean value "-t:no" for --cache: it takes true or false`,
		"build --compression-level=high": `invalid value "high" for --compression-level: it takes a number`,
		"build --cpu-shares=99999999999999999999": `for --cpu-shares: value out of range`,
	} {
		code, out, errs := runSlipway(strings.Fields(args)...)
		if code != exitUsage || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s%s, want %q", args, code, out, errs, want)
		}
	}
}

func TestExitCode(t *testing.T) {
	stopped, cancel := context.WithCancelCause(t.Context())
	cancel(signalError{syscall.SIGTERM})
	located := func(err error) error { return &op.LocatedError{Err: fmt.Errorf("x: %w", err)} }
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"anything":        {t.Context(), errors.New("x"), 1},
		"usage":           {t.Context(), usageErrorf("x"), 2},
		"bad option":      {t.Context(), &build.UsageError{Err: errors.New("x")}, 2},
		"RUN":             {t.Context(), located(&isolation.ExitError{Code: 42}), 42},
		"transient":       {t.Context(), located(&registry.Error{Kind: registry.Transient}), 75},
		"rate limit":      {t.Context(), located(&registry.Error{Kind: registry.RateLimited}), 75},
		"unauthorized":    {t.Context(), located(&registry.Error{Kind: registry.Unauthorized}), 1},
		"no isolation":    {t.Context(), located(&isolation.UnsupportedError{}), 77},
		"unreadable base": {t.Context(), located(&registry.Error{Err: fs.ErrPermission}), 77},
		"permission":      {t.Context(), &fs.PathError{Err: fs.ErrPermission}, 77},
		"presigned URL":   {t.Context(), &results.PutError{Status: 503}, 75},
		"SIGTERM":         {stopped, errors.New("x"), 143},
	} {
		if got := exitCode(c.ctx, c.err); got != c.want {
			t.Errorf("%s: exit code %d, want %d", name, got, c.want)
		}
	}
}

func TestContextArgument(t *testing.T) {
	for arg, want := range map[string]string{
		"": ".", "-": "-", "x": "x", "dir://x": "x", "tar://x.tar.gz": "tar://x.tar.gz",
		"https://example.com/a.git#b:c": "https://example.com/a.git#b:c", "git@example.com:a.git": "git@example.com:a.git",
	} {
		o, err := options(t, arg)
		if err != nil || o.Context != want {
			t.Errorf("%s: got %q, %v, want %q", arg, o.Context, err, want)
		}
	}
}
