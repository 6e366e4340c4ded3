// Package golden builds the Dockerfiles of testdata with the slipway binary and compares
// everything that comes out: the whole file tree and the config of the image, or the error.
package golden

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/testbin"
)

var update = flag.Bool("update", false, "write what comes out into testdata")

// sourceDateEpoch is that of all builds: later than everything in the base images, earlier than now.
func sourceDateEpoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// suite is what all cases share.
type suite struct {
	*bases
	binary   string
	stateDir string
	listings []baseListing
}

// baseListing is a base image that images are compared with.
type baseListing struct {
	diffIDs []string
	tree    merged
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	dir := t.TempDir()
	b, err := newBases(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.registry.Close(); err != nil {
			t.Error(err)
		}
	})
	if !b.canRun && os.Getenv("SLIPWAY_REQUIRE_TOOLS") == "1" {
		t.Fatal("busybox-static is not installed")
	}
	s := &suite{bases: b, stateDir: filepath.Join(dir, "state")}
	if s.binary, err = testbin.Build(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if s.listings, err = listBases(b); err != nil {
		t.Fatal(err)
	}
	return s
}

func listBases(b *bases) ([]baseListing, error) {
	images := slices.Collect(maps.Values(b.images))
	children, err := b.index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, d := range children.Manifests {
		image, err := b.index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		images = append(images, image)
	}
	var all []baseListing
	for _, image := range images {
		listing, err := listBase(image)
		if err != nil {
			return nil, err
		}
		all = append(all, listing)
	}
	return all, nil
}

func listBase(image v1.Image) (l baseListing, err error) {
	layers, err := image.Layers()
	if err != nil {
		return l, err
	}
	var tars [][]byte
	for _, layer := range layers {
		diffID, err := layer.DiffID()
		if err != nil {
			return l, err
		}
		l.diffIDs = append(l.diffIDs, diffID.String())
		r, err := layer.Uncompressed()
		if err != nil {
			return l, err
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(r); err != nil {
			return l, err
		}
		tars = append(tars, b.Bytes())
	}
	l.tree, err = mergeLayers(tars)
	return l, err
}

// baseOf finds the base image with the most layers that an image starts with; the zero value if
// there is none.
func (s *suite) baseOf(diffIDs []string) (found baseListing) {
	for _, b := range s.listings {
		n := len(b.diffIDs)
		if n > len(found.diffIDs) && n <= len(diffIDs) && slices.Equal(b.diffIDs, diffIDs[:n]) {
			found = b
		}
	}
	return found
}

func TestGolden(t *testing.T) {
	s := newSuite(t)
	cases := loadCases(t)
	t.Run("cases", func(t *testing.T) {
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				s.check(t, c)
			})
		}
	})
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			container := s.startContainer(t, b)
			for _, c := range cases {
				if !c.runs() {
					continue // no isolation has a part in it
				}
				t.Run(c.name, func(t *testing.T) { container.check(t, c) })
			}
		})
	}
}

// skipUnlessPossible skips cases that need more than this machine has.
func (s *suite) skipUnlessPossible(t *testing.T, c *goldenCase) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("images for Linux are built on Linux")
	}
	if os.Geteuid() != 0 {
		t.Skip("making owners, devices and namespaces needs root")
	}
	if c.runs() && !s.canRun {
		t.Skip("what RUN calls needs a static busybox (Debian: busybox-static)")
	}
	for _, f := range c.archive.Files {
		if _, err := exec.LookPath("bzip2"); err != nil && strings.HasSuffix(f.Name, ".bz2") {
			t.Skip("the archive cannot be made without bzip2")
		}
	}
}

// check builds one case twice and compares.
func (s *suite) check(t *testing.T, c *goldenCase) {
	s.skipUnlessPossible(t, c)
	dir := t.TempDir()
	if err := c.setup(dir, s.bases); err != nil {
		t.Fatal(err)
	}
	got, digest := s.build(t, c, dir, "first")
	if t.Failed() {
		return
	}
	if _, again := s.build(t, c, dir, "second"); again != digest {
		t.Errorf("the first build gives %s, the second %s", digest, again)
	}
	c.digest = digest
	if *update {
		if err := c.update(got); err != nil {
			t.Fatal(err)
		}
		return
	}
	compare(t, c.wants(), got)
}

func compare(t *testing.T, want, got map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(union(want, got))) {
		if want[name] != got[name] {
			t.Errorf("%s (- want, + got):\n%s", name, diffLines(want[name], got[name]))
		}
	}
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// ending is how a run of slipway ended.
type ending struct {
	code   int
	stderr string
}

// build runs slipway for a case and describes what it made, by name of the section in the case's
// file.
func (s *suite) build(t *testing.T, c *goldenCase, dir, attempt string) (got map[string]string, digest string) {
	t.Helper()
	out := filepath.Join(dir, "out-"+attempt)
	end := s.run(t, c, dir, out)
	end.stderr = strings.NewReplacer(s.host, registryName, dir, "$WORK", s.stateDir, "$STATE").Replace(end.stderr)
	end.expect(t, c.wantsError())
	return s.outcome(t, c, out, end)
}

// expect ends the test unless slipway failed as it should, or did not.
func (e ending) expect(t *testing.T, failure bool) {
	t.Helper()
	switch {
	case failure && e.code == 0:
		t.Fatal("the build should fail, and did not")
	case !failure && e.code != 0:
		t.Fatalf("slipway: exit code %d\n%s", e.code, e.stderr)
	}
}

// outcome describes what a run of slipway made at out, or how it failed.
func (s *suite) outcome(t *testing.T, c *goldenCase, out string, end ending) (got map[string]string, digest string) {
	t.Helper()
	if end.code != 0 {
		if _, err := os.Lstat(out); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the failed build left %s behind (%v)", out, err)
		}
		return map[string]string{sectionError: fmt.Sprintf("exit code %d\n%s", end.code, end.stderr)}, ""
	}
	digest, got, err := s.describe(out, c)
	if err != nil {
		t.Fatalf("what slipway wrote: %v", err)
	}
	return got, digest
}

// arguments are those of slipway for a case, with its output and its state directory.
func (s *suite) arguments(c *goldenCase, out, stateDir string) []string {
	args := []string{
		"build", "--no-push", "--progress=quiet", "--oci-layout-path=" + out, "--state-dir=" + stateDir,
		"--source-date-epoch=" + strconv.FormatInt(sourceDateEpoch().Unix(), 10),
	}
	if _, ok := c.section(dockerfileName); ok {
		args = append(args, "--file="+dockerfileName)
	}
	for _, arg := range c.lines(sectionArgs) {
		args = append(args, strings.ReplaceAll(arg, registryName, s.host))
	}
	return append(args, "context")
}

// run runs slipway in dir.
func (s *suite) run(t *testing.T, c *goldenCase, dir, out string) ending {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, s.arguments(c, out, s.stateDir)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), c.lines(sectionEnv)...)
	var printed bytes.Buffer
	cmd.Stderr = &printed
	var failure *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &failure) {
		t.Fatal(err)
	}
	return ending{cmd.ProcessState.ExitCode(), printed.String()}
}

// describe lists trees and configs of the images in a layout.
func (s *suite) describe(dir string, c *goldenCase) (digest string, got map[string]string, err error) {
	digest, index, images, err := ociLayout{dir}.read()
	if err != nil {
		return "", nil, err
	}
	got = map[string]string{}
	for _, image := range images {
		section := wantPrefix
		if image.platform != "" {
			section += image.platform + "."
		}
		base := s.baseOf(image.diffIDs)
		tree, err := mergeLayers(image.layers)
		if err != nil {
			return "", nil, err
		}
		got[section+"tree"] = treeText(tree, base.tree, sourceDateEpoch())
		if got[section+"config"], err = configText(image, len(base.diffIDs), !c.hasFlag("--platform")); err != nil {
			return "", nil, err
		}
		if _, ok := c.section(section + "manifest"); ok {
			if got[section+"manifest"], err = manifestText(image.manifest); err != nil {
				return "", nil, err
			}
		}
	}
	if index != nil {
		if got[wantPrefix+"index"], err = manifestText(index); err != nil {
			return "", nil, err
		}
	}
	for name, text := range got {
		got[name] = strings.ReplaceAll(text, s.host, registryName)
	}
	return digest, got, nil
}

// configText is the config with indentation; instead of diff IDs, which depend on the machine's busybox,
// it says how many layers there are. The machine's architecture is called amd64.
func configText(image *builtImage, baseLayers int, native bool) (string, error) {
	var config map[string]any
	if err := json.Unmarshal(image.config, &config); err != nil {
		return "", err
	}
	ids := []string{}
	for i := range image.diffIDs {
		if i < baseLayers {
			ids = append(ids, "base")
		} else {
			ids = append(ids, "new")
		}
	}
	if rootfs, ok := config["rootfs"].(map[string]any); ok {
		rootfs["diff_ids"] = ids
	}
	if native && config["architecture"] == runtime.GOARCH {
		config["architecture"] = "amd64"
	}
	return jsonText(config)
}

// manifestText is a manifest or index without digests and sizes.
func manifestText(m *manifest) (string, error) {
	var fields any
	if err := json.Unmarshal(m.raw, &fields); err != nil {
		return "", err
	}
	dropIdentity(fields)
	return jsonText(fields)
}

func dropIdentity(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "digest")
		delete(v, "size")
		for _, child := range v {
			dropIdentity(child)
		}
	case []any:
		for _, child := range v {
			dropIdentity(child)
		}
	}
}

func jsonText(v any) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.String(), err
}
