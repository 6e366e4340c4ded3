//go:build buildkit

package golden

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// BuildKit's own programs are expected in the directory that this variable names; README.md says
// how to make them.
const buildkitEnv = "BUILDKIT_BIN"

// sectionKnown holds the differences to BuildKit that are meant; README.md gives the reasons.
const sectionKnown = "known.buildkit"

// TestBuildKit builds every case with a BuildKit daemon and compares what comes out with what the
// cases want of Slipway.
func TestBuildKit(t *testing.T) {
	bin := buildkitDir(t)
	b, err := newBases(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.registry.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &suite{bases: b}
	if s.listings, err = listBases(b); err != nil {
		t.Fatal(err)
	}
	daemon := startBuildKit(t, bin, b.host)
	t.Run("cases", func(t *testing.T) {
		for _, c := range loadCases(t) {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s.compareWithBuildKit(t, c, daemon)
			})
		}
	})
}

func buildkitDir(t *testing.T) string {
	t.Helper()
	bin := os.Getenv(buildkitEnv)
	if bin == "" {
		t.Fatalf("%s is not set; see README.md", buildkitEnv)
	}
	return bin
}

func (s *suite) compareWithBuildKit(t *testing.T, c *goldenCase, daemon *buildkit) {
	s.skipUnlessPossible(t, c)
	dir := t.TempDir()
	if err := c.setup(dir, s.bases); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "out")
	output, err := daemon.build(t.Context(), s, c, dir, out)
	if errors.Is(err, errNotForBuildKit) {
		t.Skip(err)
	}
	diff, err := s.differences(c, out, output, err != nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.wantsError() {
		t.Logf("BuildKit says:\n%s", lastLines(output, 12))
	}
	known, _ := c.section(sectionKnown)
	switch {
	case diff == known:
	case *update:
		if err := c.setKnown(diff); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("other differences than known (- Slipway, + BuildKit):\n%s", diff)
	}
}

// differences says how what BuildKit made differs from what the case wants.
func (s *suite) differences(c *goldenCase, out, output string, failed bool) (string, error) {
	switch {
	case failed && c.wantsError():
		return "", nil
	case failed:
		return "BuildKit fails: " + lastLines(output, 1), nil
	case c.wantsError():
		return "BuildKit does not fail\n", nil
	}
	_, got, err := s.describe(out, c)
	if err != nil {
		return "", err
	}
	var diff strings.Builder
	want := c.wants()
	for _, name := range slices.Sorted(maps.Keys(union(want, got))) {
		if lines := s.withoutDirTimes(diffLines(want[name], got[name])); lines != "" {
			fmt.Fprintf(&diff, "%s\n%s", name, lines)
		}
	}
	return diff.String(), nil
}

// withoutDirTimes takes lines out of a diff that only show that directories have other times: BuildKit
// leaves these to the kernel, and its results differ from run to run.
func (s *suite) withoutDirTimes(diff string) string {
	other := map[string]int{} // the signs seen of each directory without its time
	for _, b := range s.listings {
		for _, line := range b.tree.lines(sourceDateEpoch()) {
			if dir, ok := cutDirTime(line); ok {
				other[dir] |= fromSlipway // what is not listed is as in the base
			}
		}
	}
	for line := range strings.Lines(diff) {
		if dir, ok := cutDirTime(line[1:]); ok {
			other[dir] |= signOf(line)
		}
	}
	var kept strings.Builder
	for line := range strings.Lines(diff) {
		if dir, ok := cutDirTime(line[1:]); !ok || other[dir] != fromSlipway|fromBuildKit {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

const (
	fromSlipway = 1 << iota
	fromBuildKit
)

func signOf(line string) int {
	if line[0] == '-' {
		return fromSlipway
	}
	return fromBuildKit
}

// cutDirTime takes the time out of a line about a directory and reports whether it is one.
func cutDirTime(line string) (string, bool) {
	words, err := splitWords(strings.TrimSuffix(line, "\n"))
	if err != nil || len(words) < 5 || words[1] != "dir" {
		return "", false
	}
	return strings.Join(slices.Delete(words, 4, 5), " "), true
}

func (c *goldenCase) setKnown(text string) error {
	i := slices.IndexFunc(c.archive.Files, func(f txtar.File) bool { return f.Name == sectionKnown })
	if i < 0 {
		i = len(c.archive.Files)
		c.archive.Files = append(c.archive.Files, txtar.File{Name: sectionKnown})
	}
	c.archive.Files[i].Data = []byte(text)
	if text == "" {
		c.archive.Files = slices.Delete(c.archive.Files, i, i+1)
	}
	return c.save()
}

func lastLines(text string, n int) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n")+"\n", "\n")
	return strings.Join(lines[max(0, len(lines)-1-n):], "")
}

// buildkit is a running daemon.
type buildkit struct{ buildctl, address string }

func startBuildKit(t *testing.T, bin, registryHost string) *buildkit {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "buildkitd.toml")
	text := fmt.Sprintf("[registry.%q]\n  http = true\n  insecure = true\n", registryHost)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &buildkit{buildctl: filepath.Join(bin, "buildctl"), address: "unix://" + filepath.Join(dir, "socket")}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(bin, "buildkitd"), "--root="+filepath.Join(dir, "root"), "--addr="+b.address,
		"--config="+config, "--containerd-worker=false", "--oci-worker=true", "--oci-worker-snapshotter=overlayfs",
		"--allow-insecure-entitlement=network.host")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // its status after a signal says nothing
		log.Close()
	})
	for range 100 {
		if exec.Command(b.buildctl, "--addr="+b.address, "debug", "workers").Run() == nil {
			return b
		}
		time.Sleep(100 * time.Millisecond)
	}
	said, _ := os.ReadFile(log.Name())
	t.Fatalf("buildkitd does not answer:\n%s", said)
	return nil
}

var errNotForBuildKit = errors.New("buildctl has no such option")

// build runs buildctl with what the flags of the case mean there.
func (b *buildkit) build(ctx context.Context, s *suite, c *goldenCase, dir, out string) (string, error) {
	args := buildctlArgs{
		dockerfile: "context/Dockerfile",
		output:     "type=oci,tar=false,rewrite-timestamp=true,dest=" + out,
		args: []string{
			"--addr=" + b.address, "build", "--frontend=dockerfile.v0", "--progress=plain", "--no-cache",
			"--local=context=context",
			"--opt=build-arg:SOURCE_DATE_EPOCH=" + strconv.FormatInt(sourceDateEpoch().Unix(), 10),
		},
	}
	if text, ok := c.section(dockerfileName); ok {
		args.dockerfile = dockerfileName
		if strings.HasPrefix(text, "# syntax=docker/dockerfile") {
			args.args = append(args.args, "--opt=cmdline=built-in") // the built-in frontend, without asking Docker Hub
		}
	}
	for _, arg := range c.lines(sectionArgs) {
		if err := args.add(strings.ReplaceAll(arg, registryName, s.host), dir); err != nil {
			return "", err
		}
	}
	all := append(args.args, "--local=dockerfile="+filepath.Dir(args.dockerfile),
		"--opt=filename="+filepath.Base(args.dockerfile), "--output="+args.output)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.buildctl, all...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), c.lines(sectionEnv)...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	text := strings.NewReplacer(s.host, registryName, dir, "$WORK").Replace(output.String())
	return text, err
}

// buildctlArgs translates flags of slipway to those of buildctl.
type buildctlArgs struct {
	dockerfile, output string
	args               []string
}

func (b *buildctlArgs) add(arg, dir string) error {
	flag, value, _ := strings.Cut(arg, "=")
	opt := func(name string) { b.args = append(b.args, "--opt="+name) }
	switch flag {
	case "--file":
		b.dockerfile = value
	case "--build-arg":
		opt("build-arg:" + value)
	case "--label":
		opt("label:" + value)
	case "--target":
		opt("target=" + value)
	case "--platform":
		opt("platform=" + value)
	case "--secret", "--ssh", "--allow":
		b.args = append(b.args, arg)
	case "--annotation":
		key, value, _ := strings.Cut(value, "=")
		key = strings.TrimPrefix(key, "manifest:")
		b.output += fmt.Sprintf(",annotation.%s=%s", key, value)
	case "--compression":
		if value == "none" {
			value = "uncompressed"
		}
		b.output += ",force-compression=true,compression=" + value
	case "--compression-level":
		b.output += ",compression-level=" + value
	case "--build-context":
		return b.addContext(value, dir)
	default:
		return fmt.Errorf("%w: %s", errNotForBuildKit, flag)
	}
	return nil
}

func (b *buildctlArgs) addContext(value, dir string) error {
	name, source, _ := strings.Cut(value, "=")
	id := fmt.Sprintf("named%d", len(b.args))
	switch {
	case strings.HasPrefix(source, "docker-image://"):
		b.args = append(b.args, fmt.Sprintf("--opt=context:%s=%s", name, source))
	case strings.HasPrefix(source, "oci-layout://"):
		layout, _, _ := strings.Cut(strings.TrimPrefix(source, "oci-layout://"), ":")
		raw, err := os.ReadFile(filepath.Join(dir, layout, "index.json"))
		if err != nil {
			return err
		}
		var index manifest
		if err := json.Unmarshal(raw, &index); err != nil {
			return err
		}
		b.args = append(b.args, fmt.Sprintf("--oci-layout=%s=%s", id, layout),
			fmt.Sprintf("--opt=context:%s=oci-layout://%s@%s", name, id, index.Manifests[0].Digest))
	default:
		if _, err := os.Stat(filepath.Join(dir, source)); errors.Is(err, fs.ErrNotExist) {
			return nil // buildctl, unlike BuildKit, would be the one who complains
		}
		b.args = append(b.args, fmt.Sprintf("--local=%s=%s", id, source), fmt.Sprintf("--opt=context:%s=local:%s", name, id))
	}
	return nil
}
