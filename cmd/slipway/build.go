package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/build"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/secret"
)

func buildCommand() *cli.Command {
	return &cli.Command{
		Name:         "build",
		Usage:        "build an image from a Dockerfile, and push it",
		ArgsUsage:    "[CONTEXT]",
		Flags:        buildFlags(),
		OnUsageError: asUsageError,
		Action:       runBuild,
	}
}

func runBuild(c *cli.Context) error {
	opts, err := preparedOptions(c)
	if err != nil {
		err = &build.UsageError{Err: err}
		return build.WriteFailure(c.Context, c.String("results-dir"), c.StringSlice("result"), nil, err)
	}
	if c.Bool("dryrun") || os.Getenv("KANIKO_PRINT_PLAN") == "1" {
		if err := printPlan(c, opts, formatText); err != nil || c.Bool("dryrun") {
			return err
		}
	}
	result, err := build.Run(c.Context, opts)
	if err != nil {
		return err
	}
	if c.Bool("quiet") {
		_, err := fmt.Fprintln(c.App.Writer, result.Digest)
		return err
	}
	return nil
}

// preparedOptions are the options of a build that begins now.
func preparedOptions(c *cli.Context) (build.Options, error) {
	opts, err := buildOptions(c)
	if err != nil {
		return opts, err
	}
	return opts, setCloudCredentials(c)
}

// buildOptions turns the flags into the options of a build.
func buildOptions(c *cli.Context) (build.Options, error) {
	o := build.Options{
		ContextSubPath: c.String("context-sub-path"),
		Dockerfile:     c.String("file"),
		Stdin:          c.App.Reader,
		Stdout:         c.App.Writer,
		Platforms:      splitCommas(c.StringSlice("platform")),
		Annotations:    c.StringSlice("annotation"),
		Tags:           c.StringSlice("tag"),
		Outputs:        c.StringSlice("output"),
		NoPush:         c.Bool("no-push"),
		SkipPushCheck:  c.Bool("skip-push-permission-check"),
		Push:           c.Bool("push"),
		TarPath:        c.String("tar-path"),
		OCILayoutPath:  c.String("oci-layout-path"),
		Compression:    c.String("compression"),
		NoCache:        c.Bool("no-cache"),
		NoCacheFilter:  splitCommas(c.StringSlice("no-cache-filter")),
		AddHosts:       c.StringSlice("add-host"),
		Network:        c.String("network"),
		ShmSize:        c.String("shm-size"),
		Ulimits:        c.StringSlice("ulimit"),
		CgroupParent:   c.String("cgroup-parent"),
		Memory:         c.String("memory"),
		MemorySwap:     c.String("memory-swap"),
		CPUShares:      c.Uint64("cpu-shares"),
		CPUPeriod:      c.Uint64("cpu-period"),
		CPUQuota:       c.Int64("cpu-quota"),
		CPUSetCPUs:     c.String("cpuset-cpus"),
		CPUSetMems:     c.String("cpuset-mems"),
		Allow:          c.StringSlice("allow"),
		Pull:           c.Bool("pull"),
		Check:          c.Bool("check"),
		Isolation:      c.String("isolation"),
		Cleanup:        c.Bool("cleanup"),
		IgnorePaths:    c.StringSlice("ignore-path"),
		SingleLayer:    c.Bool("single-snapshot"),
		ImageFormat:    c.String("image-format"),
		Hermetic:       c.Bool("hermetic"),
		Attest:         attestOptions(c, os.Environ()),
		Notices:        kanikoNotices(c),
		ProgressTo:     c.App.ErrWriter,
		ProgressFile:   c.String("progress-file"),
		MetadataFile:   c.String("metadata-file"),
		IIDFile:        c.String("iidfile"),
		ResultsDir:     c.String("results-dir"),
		Results:        c.StringSlice("result"),

		BuilderOutput:              os.Getenv("BUILDER_OUTPUT"),
		DigestFile:                 c.String("digest-file"),
		ImageNameWithDigestFile:    c.String("image-name-with-digest-file"),
		ImageNameTagWithDigestFile: c.String("image-name-tag-with-digest-file"),
	}
	if targets := splitCommas(c.StringSlice("target")); len(targets) > 0 {
		o.Target, o.FurtherTargets = targets[0], targets[1:]
	}
	// Kaniko has -1 for the algorithm's default.
	if level := c.Int("compression-level"); c.IsSet("compression-level") && level != -1 {
		o.CompressionLevel = &level
	}
	var err error
	if o.Progress, err = progressMode(c); err != nil {
		return build.Options{}, err
	}
	if c.Bool("quiet") {
		o.Progress, o.ProgressTo = "quiet", io.Discard
	}
	for _, set := range []func() error{
		func() error { o.Context, err = contextOf(c); return err },
		func() error {
			var notices []string
			o.Git, notices, err = gitOptions(c, o.Context, os.Getenv)
			o.Notices = append(o.Notices, notices...)
			return err
		},
		func() error { o.BuildArgs, err = buildArgs(c.StringSlice("build-arg")); return err },
		func() error { o.Labels, err = pairs("label", c.StringSlice("label"), false); return err },
		func() error {
			o.BuildContexts, err = pairs("build-context", c.StringSlice("build-context"), true)
			return err
		},
		func() error {
			o.SourcePolicyFile, err = policy.File(c.String("source-policy-file"), c.String("source-policy-dir"))
			return err
		},
		func() error {
			o.PolicyMode = c.String("policy-mode")
			o.PolicyFile, err = policy.File(c.String("policy"), c.String("policy-dir"))
			return err
		},
		func() error { o.Cache, err = cacheOptions(c); return err },
		func() error { o.Registry, err = pullOptions(c); return err },
		func() error { o.Secrets, err = secrets(c.StringSlice("secret"), c.String("secrets-dir")); return err },
		func() error { o.Agents, err = agents(c.StringSlice("ssh"), c.String("ssh-dir")); return err },
		func() error { o.Epoch, err = epoch(c); return err },
		func() error { o.Sign, err = signOptions(c, signMethod(c)); return err },
	} {
		if err := set(); err != nil {
			return build.Options{}, err
		}
	}
	o.Registry.WarmDir = warmDir(c)
	if o.StateDir, err = stateDir(c); err != nil {
		return build.Options{}, err
	}
	if c.Bool("push") && c.Bool("no-push") {
		return build.Options{}, fmt.Errorf("--push and --no-push exclude each other")
	}
	if c.Bool("push") && len(o.Tags) == 0 {
		return build.Options{}, fmt.Errorf("--push needs a --tag to push to")
	}
	return o, nil
}

// contextFlag is the flag for the build context.
const contextFlag = "context"

// contextDefaultFlag is what the build context is if nothing is given; only kanikoCall sets it.
const contextDefaultFlag = "context-default"

// contextOf is the context given as argument or with --context; Kaniko's dir:// form of directories
// works too.
func contextOf(c *cli.Context) (string, error) {
	if c.NArg() > 1 {
		return "", fmt.Errorf("there is one build context, not %d: %s", c.NArg(), strings.Join(c.Args().Slice(), " "))
	}
	dir := c.Args().First()
	if flag := c.String(contextFlag); flag != "" {
		if dir != "" {
			return "", fmt.Errorf("the build context is given twice: %s and --context %s", dir, flag)
		}
		dir = flag
	}
	switch {
	case dir == "" && c.IsSet(contextFlag):
		return "", errors.New("there is no build context: what is given for it is empty")
	case dir == "" && c.String("bucket") != "":
		if dir = c.String("bucket"); !strings.Contains(dir, "://") {
			dir = "gs://" + dir
		}
	case dir == "":
		dir = c.String(contextDefaultFlag)
	}
	return strings.TrimPrefix(dir, "dir://"), nil
}

// buildArgs reads NAME=VALUE, and NAME alone as the value from our own environment, as Docker
// does; a name that is not set there is left out.
func buildArgs(values []string) (map[string]string, error) {
	args := map[string]string{}
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		if name == "" {
			return nil, fmt.Errorf("--build-arg %q has no name", v)
		}
		if !ok {
			if value, ok = os.LookupEnv(name); !ok {
				continue
			}
		}
		args[name] = value
	}
	return args, nil
}

func pairs(flag string, values []string, needValue bool) (map[string]string, error) {
	m := map[string]string{}
	for _, v := range values {
		key, value, ok := strings.Cut(v, "=")
		if key == "" || (!ok && needValue) {
			return nil, fmt.Errorf("--%s %q is not of the form NAME=VALUE", flag, v)
		}
		m[key] = value
	}
	return m, nil
}

// secrets are those of --secret and, where they have other names, those in the directory of
// --secrets-dir, to which relative paths of --secret refer.
func secrets(values []string, dir string) ([]secret.Spec, error) {
	var specs []secret.Spec
	for _, v := range values {
		s, err := secret.Parse(v)
		if err != nil {
			return nil, err
		}
		if s.File != "" && !filepath.IsAbs(s.File) {
			s.File = filepath.Join(dir, s.File)
		}
		specs = append(specs, s)
	}
	if dir == "" {
		return specs, nil
	}
	all, err := secret.Dir(dir)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if !slices.ContainsFunc(specs, func(o secret.Spec) bool { return o.ID == s.ID }) {
			specs = append(specs, s)
		}
	}
	return specs, nil
}

// agents are those of --ssh and, unless one of them has its name, the one with the keys of --ssh-dir.
func agents(values []string, dir string) ([]secret.AgentSpec, error) {
	var specs []secret.AgentSpec
	for _, v := range values {
		s, err := secret.ParseAgent(v)
		if err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	if dir == "" {
		return specs, nil
	}
	s, ok, err := secret.KeyDir(dir)
	if err != nil || !ok || slices.ContainsFunc(specs, func(o secret.AgentSpec) bool { return o.ID == s.ID }) {
		return specs, err
	}
	return append(specs, s), nil
}

// epoch is SOURCE_DATE_EPOCH; Kaniko's --reproducible is the earliest one.
func epoch(c *cli.Context) (*time.Time, error) {
	value := c.String("source-date-epoch")
	switch {
	case value == "" && c.Bool("reproducible"):
		value = "0"
	case value == "":
		return nil, nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("source date epoch %q is not a number of seconds", value)
	}
	t := time.Unix(seconds, 0).UTC()
	return &t, nil
}

// splitCommas is for the flags whose values are lists in Docker too.
func splitCommas(values []string) []string {
	var all []string
	for _, v := range values {
		for s := range strings.SplitSeq(v, ",") {
			if s = strings.TrimSpace(s); s != "" {
				all = append(all, s)
			}
		}
	}
	return all
}

func stateDir(c *cli.Context) (string, error) {
	if dir := c.String("state-dir"); dir != "" {
		return dir, nil
	}
	return defaultStateDir()
}

// defaultStateDir is /slipway where our image provides it, else a directory in the user's cache.
func defaultStateDir() (string, error) {
	const inImage = "/slipway"
	if info, err := os.Stat(inImage); err == nil && info.IsDir() {
		return inImage, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for the state directory (use --state-dir): %w", err)
	}
	return filepath.Join(cache, "slipway"), nil
}
