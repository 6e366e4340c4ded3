package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/kaniko"
	"github.com/slipway-build/slipway/pkg/bases"
	"github.com/slipway-build/slipway/pkg/build"
)

// field checks one value of the options.
func field[T any](get func(build.Options) T, want string) func(build.Options) string {
	return func(o build.Options) string {
		if got := fmt.Sprint(get(o)); got != want {
			return fmt.Sprintf("got %s, want %s", got, want)
		}
		return ""
	}
}

// executorFlag is a flag of Kaniko's executor with an example of its use.
type executorFlag struct {
	name  string
	args  []string
	check func(build.Options) string // "" if all is well; nil for a flag with a notice
}

// executorFlags are all flags of Kaniko's executor, of the original and of its fork, and what each comes to.
func executorFlags() []executorFlag {
	notice := func(name, value string) executorFlag {
		return executorFlag{name, []string{"--" + name + value}, nil}
	}
	return []executorFlag{
		{"annotation", []string{"--annotation", "a=b=c"}, field(func(o build.Options) any { return o.Annotations }, "[a=b=c]")},
		{"bucket", []string{"-b", "bucket/object"}, field(func(o build.Options) any { return o.Context }, "gs://bucket/object")},
		{"build-arg", []string{"--build-arg", "A=1,2", "--build-arg=B=3"}, field(func(o build.Options) any { return o.BuildArgs }, "map[A:1,2 B:3]")},
		{"cache", []string{"--cache", "-d", "r.example.com/a:1"}, field(func(o build.Options) any { return o.Cache.From }, "[r.example.com/a/cache]")},
		{"cache-copy-layers", []string{"--cache-copy-layers=false"}, field(func(o build.Options) any { return o.Cache.SkipCopies }, "true")},
		{"cache-dir", []string{"--cache-dir", "/bases"}, field(func(o build.Options) any { return o.Registry.WarmDir }, "/bases")},
		{"cache-repo", []string{"--cache=true", "--cache-repo", "oci:/c"}, field(func(o build.Options) any { return o.Cache.To }, "[oci:/c]")},
		{"cache-run-layers", []string{"--cache-run-layers=false"}, field(func(o build.Options) any { return o.Cache.SkipRuns }, "true")},
		{"cache-ttl", []string{"--cache-ttl=6h"}, field(func(o build.Options) any { return o.Cache.TTL }, "6h0m0s")},
		{"cleanup", []string{"--cleanup"}, field(func(o build.Options) any { return o.Cleanup }, "true")},
		notice("compressed-caching", "=false"),
		{"compression", []string{"--compression=zstd"}, field(func(o build.Options) any { return o.Compression }, "zstd")},
		{"compression-level", []string{"--compression-level=-1"}, field(func(o build.Options) any { return o.CompressionLevel }, "<nil>")},
		{"context", []string{"-c", "dir:///src"}, field(func(o build.Options) any { return o.Context }, "/src")},
		{"context-sub-path", []string{"--context-sub-path", "a/b"}, field(func(o build.Options) any { return o.ContextSubPath }, "a/b")},
		{"credential-helpers", []string{"--credential-helpers", "env,ecr", "--credential-helpers=acr"}, field(func(o build.Options) any { return len(o.Notices) }, "0")},
		{"custom-platform", []string{"--custom-platform", "linux/arm64"}, field(func(o build.Options) any { return o.Platforms }, "[linux/arm64]")},
		{"customPlatform", []string{"--customPlatform=linux/arm64"}, field(func(o build.Options) any { return o.Platforms }, "[linux/arm64]")},
		{"destination", []string{"-d", "a:1", "--destination=b:2"}, field(func(o build.Options) any { return o.Tags }, "[a:1 b:2]")},
		{"digest-file", []string{"--digest-file", "/d"}, field(func(o build.Options) any { return o.DigestFile }, "/d")},
		{"dockerfile", []string{"-f", "https://example.com/Dockerfile"}, field(func(o build.Options) any { return o.Dockerfile }, "https://example.com/Dockerfile")},
		{"dryrun", []string{"--dryrun"}, field(func(o build.Options) any { return len(o.Notices) }, "0")},
		notice("force", ""),
		notice("force-build-metadata", ""),
		{"git", []string{"-c", "git://h/r", "--git", "branch=b,recurse-submodules=true", "--git=insecure-skip-tls=true"}, field(func(o build.Options) any { return o.Git }, "{b true true false   }")},
		{"ignore-path", []string{"--ignore-path", "/a", "--ignore-path=/b"}, field(func(o build.Options) any { return o.IgnorePaths }, "[/a /b]")},
		notice("ignore-var-run", "=false"),
		{"image-download-retry", []string{"--image-download-retry=7"}, field(func(o build.Options) any { return o.Registry.Pull.Repeats }, "7")},
		notice("image-fs-extract-retry", "=3"),
		{"image-format", []string{"--image-format", "docker"}, field(func(o build.Options) any { return o.ImageFormat }, "docker")},
		{"image-name-tag-with-digest-file", []string{"--image-name-tag-with-digest-file", "/d"}, field(func(o build.Options) any { return o.ImageNameTagWithDigestFile }, "/d")},
		{"image-name-with-digest-file", []string{"--image-name-with-digest-file", "/d"}, field(func(o build.Options) any { return o.ImageNameWithDigestFile }, "/d")},
		{"insecure", []string{"--insecure"}, field(func(o build.Options) any { return o.Registry.Push.PlainHTTP }, "true")},
		{"insecure-pull", []string{"--insecure-pull"}, field(func(o build.Options) any { return o.Registry.Pull.PlainHTTP }, "true")},
		{"insecure-registry", []string{"--insecure-registry", "r:5000"}, field(func(o build.Options) any { return o.Registry.Hosts["r:5000"].PlainHTTP }, "true")},
		notice("kaniko-dir", "=/k"),
		{"label", []string{"--label", "a=b"}, field(func(o build.Options) any { return o.Labels }, "map[a:b]")},
		{"log-format", []string{"--log-format=json"}, field(func(o build.Options) any { return o.Progress }, "rawjson")},
		notice("log-timestamp", "=true"),
		notice("materialize", ""),
		{"no-push", []string{"--no-push"}, field(func(o build.Options) any { return o.NoPush }, "true")},
		{"no-push-cache", []string{"--no-push-cache", "--cache", "--cache-repo=r/c"}, field(func(o build.Options) any { return o.Cache.To }, "[]")},
		{"oci-layout-path", []string{"--oci-layout-path", "/l"}, field(func(o build.Options) any { return o.OCILayoutPath }, "/l")},
		notice("pre-cleanup", ""),
		notice("preserve-context", ""),
		{"push-ignore-immutable-tag-errors", []string{"--push-ignore-immutable-tag-errors"}, field(func(o build.Options) any { return o.Registry.KeepTags }, "true")},
		{"push-retry", []string{"--push-retry", "3"}, field(func(o build.Options) any { return o.Registry.Push.Repeats }, "3")},
		{"registry-certificate", []string{"--registry-certificate", "r=/ca.pem"}, field(func(o build.Options) any { return o.Registry.Hosts["r"].CAFile }, "/ca.pem")},
		{"registry-client-cert", []string{"--registry-client-cert=r=/cert,/key"}, field(func(o build.Options) any { return o.Registry.Hosts["r"].CertFile + " " + o.Registry.Hosts["r"].KeyFile }, "/cert /key")},
		{"registry-map", []string{"--registry-map=quay.io=a/b;gcr.io=c", "--registry-map", "quay.io=d"}, field(func(o build.Options) any { return o.Registry.Mirrors }, "map[gcr.io:[c] quay.io:[a/b d]]")},
		{"registry-mirror", []string{"--registry-mirror", "a:5000/hub", "--registry-mirror=b", "--registry-map=docker.io=c"}, field(func(o build.Options) any { return o.Registry.Mirrors }, "map[docker.io:[c a:5000/hub b]]")},
		{"reproducible", []string{"--reproducible"}, field(func(o build.Options) any { return o.Epoch.Unix() }, "0")},
		{"secret", []string{"--secret", "id=a,src=/s,type=file"}, field(func(o build.Options) any { return o.Secrets[0].File }, "/s")},
		{"single-snapshot", []string{"--single-snapshot"}, field(func(o build.Options) any { return o.SingleLayer }, "true")},
		{"skip-default-registry-fallback", []string{"--skip-default-registry-fallback"}, field(func(o build.Options) any { return o.Registry.MirrorsOnly }, "true")},
		{"skip-push-permission-check", []string{"--skip-push-permission-check"}, field(func(o build.Options) any { return o.SkipPushCheck }, "true")},
		{"skip-tls-verify", []string{"--skip-tls-verify"}, field(func(o build.Options) any { return o.Registry.Push.SkipTLSVerify && o.Registry.Pull.SkipTLSVerify }, "true")},
		{"skip-tls-verify-pull", []string{"--skip-tls-verify-pull"}, field(func(o build.Options) any { return o.Registry.Pull.SkipTLSVerify }, "true")},
		{"skip-tls-verify-registry", []string{"--skip-tls-verify-registry", "r"}, field(func(o build.Options) any { return o.Registry.Hosts["r"].SkipTLSVerify }, "true")},
		notice("skip-unused-stages", "=true"),
		notice("snapshot-mode", "=redo"),
		notice("snapshotMode", "=time"),
		{"tar-path", []string{"--tar-path", "/t"}, field(func(o build.Options) any { return o.TarPath }, "/t")},
		{"tarPath", []string{"--tarPath=/t"}, field(func(o build.Options) any { return o.TarPath }, "/t")},
		{"target", []string{"--target", "a,b", "--target=c"}, field(func(o build.Options) any { return append([]string{o.Target}, o.FurtherTargets...) }, "[a b c]")},
		notice("use-new-run", ""),
		notice("verbosity", "=debug"),
		notice("whitelist-var-run", ""),
	}
}

// Every flag of Kaniko's does what docs/kaniko.md says, or gives one notice that says why it is not needed.
func TestExecutorFlags(t *testing.T) {
	for _, f := range executorFlags() {
		t.Run(f.name, func(t *testing.T) {
			o, err := options(t, f.args...)
			if err != nil {
				t.Fatal(err)
			}
			if f.check == nil {
				if len(o.Notices) != 1 || !strings.Contains(o.Notices[0], "has no effect: ") {
					t.Errorf("notices %q", o.Notices)
				}
				return
			}
			if len(o.Notices) > 0 {
				t.Errorf("notices %q", o.Notices)
			}
			if problem := f.check(o); problem != "" {
				t.Error(problem)
			}
		})
	}
}

// The shorthands of Kaniko's executor, which has no others.
func TestExecutorShorthands(t *testing.T) {
	o, err := options(t, "-f", "D", "-c", "/src", "-d", "a:1", "-v", "debug")
	if err != nil || o.Dockerfile != "D" || o.Context != "/src" || !slices.Equal(o.Tags, []string{"a:1"}) || len(o.Notices) != 1 {
		t.Errorf("got %+v, %v", o, err)
	}
}

// The page about Kaniko has a row for each flag and variable, and none for others.
func TestKanikoPage(t *testing.T) {
	text, err := os.ReadFile("../../docs/kaniko.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := func(section, pattern string) []string {
		_, rest, _ := strings.Cut(string(text), "\n## "+section+"\n")
		rest, _, _ = strings.Cut(rest, "\n## ")
		var names []string
		for line := range strings.Lines(rest) {
			cell, _, isRow := strings.Cut(strings.TrimPrefix(line, "|"), "|")
			if !isRow {
				continue
			}
			for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(cell, -1) {
				names = append(names, m[1])
			}
		}
		slices.Sort(names)
		return names
	}
	var flags []string
	for _, f := range executorFlags() {
		flags = append(flags, f.name)
	}
	slices.Sort(flags)
	if got := rows("Flags of the executor", "`--([A-Za-z-]+)`"); !slices.Equal(got, flags) {
		t.Errorf("flags of the executor: the page has\n%q, the test\n%q", got, flags)
	}
	var warm []string
	for _, f := range warmerFlags() {
		warm = append(warm, f.name)
	}
	slices.Sort(warm)
	if got := rows("Flags of the warmer", "`--([A-Za-z-]+)`"); !slices.Equal(got, warm) {
		t.Errorf("flags of the warmer: the page has\n%q, the test\n%q", got, warm)
	}
	documented := rows("Environment", "`([A-Z0-9_*]+)`")
	for _, v := range kaniko.Variables() {
		if !slices.Contains(documented, v.Name) {
			t.Errorf("the page says nothing of %s", v.Name)
		}
	}
}

type warmerFlag struct {
	name  string
	args  []string
	check func(bases.Options) string
}

func warmerFlags() []warmerFlag {
	is := func(get func(bases.Options) any, want string) func(bases.Options) string {
		return func(o bases.Options) string {
			if got := fmt.Sprint(get(o)); got != want {
				return fmt.Sprintf("got %s, want %s", got, want)
			}
			return ""
		}
	}
	return []warmerFlag{
		{"build-arg", []string{"--build-arg", "A=b"}, is(func(o bases.Options) any { return o.BuildArgs }, "map[A:b]")},
		{"cache-dir", []string{"-c", "/c"}, is(func(o bases.Options) any { return o.Dir }, "/c")},
		{"cache-ttl", []string{"--cache-ttl=1h"}, is(func(o bases.Options) any { return o.TTL }, "1h0m0s")},
		{"customPlatform", []string{"--customPlatform=linux/arm64"}, is(func(o bases.Options) any { return o.Platforms }, "[linux/arm64]")},
		{"dockerfile", []string{"-d", "D"}, is(func(o bases.Options) any { return o.Dockerfile }, "D")},
		{"force", []string{"-f"}, is(func(o bases.Options) any { return o.Force }, "true")},
		{"image", []string{"-i", "a", "--image=b"}, is(func(o bases.Options) any { return o.Images }, "[a b]")},
		{"insecure-pull", []string{"--insecure-pull"}, is(func(o bases.Options) any { return o.Registry.Pull.PlainHTTP }, "true")},
		{"insecure-registry", []string{"--insecure-registry=r"}, is(func(o bases.Options) any { return o.Registry.Hosts["r"].PlainHTTP }, "true")},
		{"log-format", []string{"--log-format=text"}, nil},
		{"log-timestamp", []string{"--log-timestamp"}, nil},
		{"registry-certificate", []string{"--registry-certificate=r=/ca"}, is(func(o bases.Options) any { return o.Registry.Hosts["r"].CAFile }, "/ca")},
		{"registry-client-cert", []string{"--registry-client-cert=r=/cert,/key"}, is(func(o bases.Options) any { return o.Registry.Hosts["r"].KeyFile }, "/key")},
		{"registry-map", []string{"--registry-map=quay.io=a"}, is(func(o bases.Options) any { return o.Registry.Mirrors }, "map[quay.io:[a]]")},
		{"registry-mirror", []string{"--registry-mirror=a"}, is(func(o bases.Options) any { return o.Registry.Mirrors }, "map[docker.io:[a]]")},
		{"skip-default-registry-fallback", []string{"--skip-default-registry-fallback"}, is(func(o bases.Options) any { return o.Registry.MirrorsOnly }, "true")},
		{"skip-tls-verify-pull", []string{"--skip-tls-verify-pull"}, is(func(o bases.Options) any { return o.Registry.Pull.SkipTLSVerify }, "true")},
		{"skip-tls-verify-registry", []string{"--skip-tls-verify-registry=r"}, is(func(o bases.Options) any { return o.Registry.Hosts["r"].SkipTLSVerify }, "true")},
		{"verbosity", []string{"-v", "debug"}, nil},
	}
}

func TestWarmerFlags(t *testing.T) {
	for _, f := range warmerFlags() {
		t.Run(f.name, func(t *testing.T) {
			o, notices := warmed(t, f.args...)
			if f.check == nil {
				if len(notices) != 1 {
					t.Errorf("notices %q", notices)
				}
				return
			}
			if problem := f.check(o); problem != "" || len(notices) > 0 {
				t.Errorf("%s; notices %q", problem, notices)
			}
		})
	}
}

func TestVariableNotices(t *testing.T) {
	got := kaniko.VariableNotices([]string{"FF_KANIKO_B=1", "FF_KANIKO_A=0", "KANIKO_DIR=", "SNAPSHOT_TIMEOUT_DURATION=1h", "PATH=/bin"})
	if len(got) != 2 || !strings.HasPrefix(got[0], "FF_KANIKO_A, FF_KANIKO_B: no effect: ") || !strings.HasPrefix(got[1], "SNAPSHOT_TIMEOUT_DURATION: ") {
		t.Errorf("got %q", got)
	}
}
