package build

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/client/llb"

	"github.com/slipway-build/slipway/internal/testbase/cosigned"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
)

// bases is a registry of base images that remembers what it was asked for. Each image has a file f that says what it is.
type bases struct {
	host  string
	key   *cosigned.Key
	refs  map[string]string // by repository, with digest
	inner http.Handler

	mu     sync.Mutex
	asked  []string
	before func(path string) // called before each answer
}

func serveBases(t *testing.T) *bases {
	t.Helper()
	b := &bases{key: cosigned.NewKey(t), refs: map[string]string{}, inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true))}
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	b.host = strings.TrimPrefix(s.URL, "http://")
	for _, repo := range []string{"signed", "unsigned", "tampered", "elsewhere", "open", "closed"} {
		b.push(t, repo, repo)
	}
	b.key.Sign(t, b.refs["signed"], cosigned.Claim{})
	b.key.Tamper(t, b.refs["tampered"])
	b.key.Sign(t, b.refs["elsewhere"], cosigned.Claim{Reference: b.host + "/signed"})
	b.forget()
	return b
}

func (b *bases) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.asked = append(b.asked, strings.TrimPrefix(r.URL.Path, "/v2/"))
	before := b.before
	b.mu.Unlock()
	if before != nil {
		before(r.URL.Path)
	}
	b.inner.ServeHTTP(w, r)
}

// forget forgets what was asked until now.
func (b *bases) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = nil
}

// all gives what was asked.
func (b *bases) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asked)
}

// askedAbout gives what was asked of a repository.
func (b *bases) askedAbout(repo string) []string {
	return slices.DeleteFunc(b.all(), func(p string) bool { return !strings.HasPrefix(p, repo+"/") })
}

// baseImage is one with a file.
func baseImage(t *testing.T, content string) v1.Image {
	t.Helper()
	data := archive(t, map[string]string{"f": content})
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	if img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(t, l)}}); err != nil {
		t.Fatal(err)
	}
	return img
}

func diffIDs(t *testing.T, l v1.Layer) []v1.Hash {
	t.Helper()
	id, err := l.DiffID()
	if err != nil {
		t.Fatal(err)
	}
	return []v1.Hash{id}
}

// push pushes an index with an image for linux/amd64 as repo:1.
func (b *bases) push(t *testing.T, repo, content string) {
	t.Helper()
	tag, err := name.NewTag(b.host + "/" + repo + ":1")
	if err != nil {
		t.Fatal(err)
	}
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: baseImage(t, content), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	})
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	b.refs[repo] = tag.Digest(digest.String()).String()
}

// policy allows "open", and what is signed; it rejects "closed" and what it does not know.
func (b *bases) policy(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	signed := `[{"type": "sigstoreSigned", "keyPath": "key.pub", "signedIdentity": {"type": "matchRepository"}}]`
	text := `{"default": [{"type": "reject"}], "transports": {"docker": {
		"HOST": ` + signed + `, "HOST/open:1": [{"type": "insecureAcceptAnything"}], "HOST/closed": [{"type": "reject"}]}}}`
	file := filepath.Join(dir, "policy.json")
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "key.pub"), b.key.PEM, 0o600),
		os.WriteFile(file, []byte(strings.ReplaceAll(text, "HOST", b.host)), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return file
}

// options are those of a build of a Dockerfile under the policy. In what is given, HOST/repository@ stands for the digest.
func (b *bases) options(t *testing.T, dockerfile string) Options {
	t.Helper()
	return Options{
		Context: t.TempDir(), Dockerfile: "-", Stdin: strings.NewReader(b.expand(dockerfile)), Platforms: []string{"linux/amd64"},
		PolicyFile: b.policy(t),
	}
}

func (b *bases) expand(text string) string {
	for repo, ref := range b.refs {
		text = strings.ReplaceAll(text, "HOST/"+repo+"@", ref)
	}
	return strings.ReplaceAll(text, "HOST", b.host)
}

// Whatever a build is based on is decided about: what is rejected, before anything is asked of its registry; what must be
// signed, before anything of it is read but manifests.
func TestDeniedImages(t *testing.T) {
	b := serveBases(t)
	for _, test := range []struct {
		title, dockerfile string
		context           string // what the named context "named" is
		convert           string // what a source policy replaces HOST/open:1 by
		line              int    // 0 for none
		repo, why         string
	}{
		{"FROM", "FROM scratch AS a\nFROM HOST/closed:1\n", "", "", 2, "closed", ""},
		{"FROM digest", "FROM HOST/closed@\n", "", "", 1, "closed", ""},
		{"FROM digest whose tag is allowed", "FROM HOST/open@\n", "", "", 1, "open", "it has no signature"},
		{"COPY --from", "FROM scratch\n\nCOPY --from=HOST/closed:1 /f /\n", "", "", 3, "closed", ""},
		{"COPY --from of a stage", "FROM HOST/closed:1 AS b\nFROM scratch\nCOPY --from=b /f /\n", "", "", 1, "closed", ""},
		{"RUN --mount", "FROM HOST/open:1\nRUN --mount=from=HOST/closed:1,target=/m true\n", "", "", 2, "closed", ""},
		{"a named context", "FROM named\n", "docker-image://HOST/closed:1", "", 1, "closed", ""},
		{"a named context with a digest", "FROM scratch\nCOPY --from=named /f /\n", "docker-image://HOST/closed@", "", 2, "closed", ""},
		{"replaced", "FROM HOST/open:1\n", "", "docker-image://HOST/closed:1", 1, "closed", ""},
		{"replaced by a digest", "FROM HOST/open:1\n", "", "docker-image://HOST/closed@", 1, "closed", ""},
		{"another registry", "FROM other.invalid/x\n", "", "", 1, "x", ""},

		{"not signed", "FROM HOST/unsigned:1\n", "", "", 1, "unsigned", "it has no signature"},
		{"not signed by digest", "FROM HOST/unsigned@\n", "", "", 1, "unsigned", "it has no signature"},
		{"not signed COPY --from", "FROM scratch\nCOPY --from=HOST/unsigned:1 /f /\n", "", "", 2, "unsigned", "it has no signature"},
		{"not signed RUN --mount", "FROM HOST/open:1\nRUN --mount=from=HOST/unsigned:1,target=/m true\n", "", "", 2, "unsigned", "it has no signature"},
		{"tampered with", "FROM HOST/tampered:1\n", "", "", 1, "tampered", "invalid signature"},
		{"signed for another repository", "FROM HOST/elsewhere:1\n", "", "", 1, "elsewhere", "it is for the repository"},
	} {
		t.Run(test.title, func(t *testing.T) {
			o := b.options(t, test.dockerfile)
			if test.context != "" {
				o.BuildContexts = map[string]string{"named": b.expand(test.context)}
			}
			if test.convert != "" {
				o.SourcePolicyFile = filepath.Join(t.TempDir(), "policy.json")
				rule := `{"rules": [{"action": "CONVERT", "selector": {"identifier": "docker-image://HOST/open:1"}, "updates": {"identifier": "` + test.convert + `"}}]}`
				if err := os.WriteFile(o.SourcePolicyFile, []byte(b.expand(rule)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b.forget()
			_, err := built(t, o)
			var denied *policy.DeniedError
			if !errors.As(err, &denied) || !strings.Contains(denied.Image, "/"+test.repo) || denied.Policy != o.PolicyFile || !strings.Contains(denied.Error(), test.why) {
				t.Fatalf("the error is %v", err)
			}
			if reason := Reason(t.Context(), err); reason != "PolicyDenied" {
				t.Errorf("its reason is %s", reason)
			}
			var located *op.LocatedError
			if errors.As(err, &located) != (test.line != 0) || located != nil && located.Location.Start != test.line {
				t.Errorf("its place is %+v, want line %d", located, test.line)
			}
			asked := b.askedAbout(test.repo)
			if test.why == "" && len(asked) > 0 {
				t.Errorf("the registry was asked for %q", asked)
			}
			_, digest, _ := strings.Cut(b.refs[test.repo], "@")
			signature := strings.Replace(digest, ":", "-", 1) + ".sig"
			for _, path := range asked {
				// Blobs are those of signatures.
				if isBlob := strings.Contains(path, "/blobs/"); isBlob && !slices.Contains(asked, test.repo+"/manifests/"+signature) || isBlob && test.why == "it has no signature" {
					t.Errorf("%s was read: %q", path, asked)
				}
			}
		})
	}
}

// What the policy allows is built, and nothing is asked about what a build does not need.
func TestAllowedImages(t *testing.T) {
	b := serveBases(t)
	for _, test := range []struct {
		title, dockerfile string
		want              map[string]string
	}{
		{"scratch", "FROM scratch\nCOPY --from=HOST/open:1 /f /g\n", map[string]string{"g": "open"}},
		{"FROM", "FROM HOST/signed:1\n", map[string]string{"f": "signed"}},
		{"FROM digest", "FROM HOST/signed@\n", map[string]string{"f": "signed"}},
		{"all of them", "FROM HOST/open:1 AS a\nFROM HOST/signed:1\nCOPY --from=a /f /a\nCOPY --from=HOST/open:1 /f /b\n", map[string]string{"f": "signed", "a": "open", "b": "open"}},
		{"a stage that is not needed", "FROM HOST/closed:1 AS a\nFROM HOST/signed:1\n", map[string]string{"f": "signed"}},
	} {
		t.Run(test.title, func(t *testing.T) {
			b.forget()
			got, err := built(t, b.options(t, test.dockerfile))
			if err != nil {
				t.Fatal(err)
			}
			for f, want := range test.want {
				if got[f] != want {
					t.Errorf("%s has %q", f, got[f])
				}
			}
			if asked := b.askedAbout("closed"); len(asked) > 0 {
				t.Errorf("asked for %q", asked)
			}
		})
	}
}

// What is used is what was verified, wherever the tag has gone since.
func TestVerifiedImageIsUsed(t *testing.T) {
	b := serveBases(t)
	o := b.options(t, "FROM HOST/signed:1\n")
	var once sync.Once
	b.before = func(path string) {
		if strings.HasSuffix(path, ".sig") {
			once.Do(func() { b.push(t, "signed", "another") })
		}
	}
	if got, err := built(t, o); err != nil || got["f"] != "signed" {
		t.Errorf("got %q, %v", got, err)
	}
}

// With a warning, once for each image, a build goes on.
func TestPolicyWarns(t *testing.T) {
	b := serveBases(t)
	o := b.options(t, "FROM HOST/unsigned:1 AS a\nFROM HOST/unsigned:1\nCOPY --from=a /f /g\nCOPY --from=HOST/closed:1 /f /h\nCOPY --from=HOST/signed:1 /f /i\n")
	o.PolicyMode = "warn"
	o.Outputs, o.StateDir = []string{"type=local,dest=" + t.TempDir()}, t.TempDir()
	var said bytes.Buffer
	o.Progress, o.ProgressTo = "plain", &said
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for image, warnings := range map[string]int{"/unsigned:1": 1, "/closed:1": 1, "/signed:1": 0} {
		if n := strings.Count(said.String(), b.host+image+`" denied by policy`); n != warnings {
			t.Errorf("%d warnings about %s:\n%s", n, image, &said)
		}
	}
}

// A registry that does not say whether an image is signed is not one of images that are not.
func TestPolicyCannotBeAsked(t *testing.T) {
	b := serveBases(t)
	b.inner = failing{b.inner, func(path string) bool { return strings.HasSuffix(path, ".sig") }}
	o := b.options(t, "FROM HOST/signed:1\n")
	o.Registry.Retry.Attempts = 1
	_, err := built(t, o)
	if reason := Reason(t.Context(), err); reason != "RegistryUnavailable" || !strings.Contains(err.Error(), "policy.json") {
		t.Errorf("%s: %v", reason, err)
	}
	o = b.options(t, "FROM HOST/signed:1\n")
	o.Registry.Retry.Attempts, o.PolicyMode = 1, "warn"
	if got, err := built(t, o); err != nil || got["f"] != "signed" {
		t.Errorf("with warnings only: %v", err)
	}
}

// failing answers some requests with an error.
type failing struct {
	http.Handler
	fails func(path string) bool
}

func (f failing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.fails(r.URL.Path) {
		http.Error(w, "not today", http.StatusServiceUnavailable)
		return
	}
	f.Handler.ServeHTTP(w, r)
}

// What is in the cache is no way around the policy.
func TestPolicyBeforeCache(t *testing.T) {
	b := serveBases(t)
	store := t.TempDir()
	cached := func(dockerfile, policyFile string) error {
		o := b.options(t, dockerfile)
		o.PolicyFile = policyFile
		o.Cache.From, o.Cache.To = []string{store}, []string{store}
		_, err := built(t, o)
		return err
	}
	const dockerfile = "FROM HOST/unsigned:1 AS a\nWORKDIR /w\nFROM scratch\nCOPY --from=a /f /\n"
	for range 2 {
		if err := cached(dockerfile, ""); err != nil {
			t.Fatal(err)
		}
	}
	var denied *policy.DeniedError
	if err := cached(dockerfile, b.policy(t)); !errors.As(err, &denied) {
		t.Errorf("the error is %v", err)
	}
}

// Graphs that a caller in Go gives name their images by digest, and are decided about all the same.
func TestPolicyOnInputs(t *testing.T) {
	b := serveBases(t)
	graph, err := llb.Image(b.refs["closed"]).Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	marshalled, err := graph.ToPB().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	o := b.options(t, "FROM scratch\nCOPY --from=lib /f /g\n")
	o.BuildContexts, o.Inputs = map[string]string{"lib": "input:graph"}, map[string][]byte{"graph": marshalled}
	var denied *policy.DeniedError
	if _, err := built(t, o); !errors.As(err, &denied) || len(b.askedAbout("closed")) > 0 {
		t.Errorf("the error is %v; asked for %q", err, b.askedAbout("closed"))
	}
	o = b.options(t, "FROM scratch\nCOPY --from=lib /f /g\n")
	o.BuildContexts, o.Inputs, o.PolicyFile = map[string]string{"lib": "input:graph"}, map[string][]byte{"graph": marshalled}, ""
	if got, err := built(t, o); err != nil || got["g"] != "closed" {
		t.Errorf("without a policy: %v, %v", got, err)
	}
}

// Images in local layouts are of a transport of their own, and have no signatures.
func TestPolicyOnLayouts(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path, err := layout.Write(filepath.Join(dir, "layout"), empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(baseImage(t, "local"), layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "1"})); err != nil {
		t.Fatal(err)
	}
	key := cosigned.NewKey(t)
	for _, test := range []struct{ scope, requirement, why string }{
		{"DIR/layout:1", `{"type": "insecureAcceptAnything"}`, ""},
		{"DIR/layout", `{"type": "insecureAcceptAnything"}`, ""},
		{"", `{"type": "insecureAcceptAnything"}`, ""},
		{"DIR/layout:2", `{"type": "insecureAcceptAnything"}`, "denied by policy"},
		{"DIR", `{"type": "sigstoreSigned", "keyPath": "key.pub"}`, "no signatures"},
	} {
		policies := t.TempDir()
		file := filepath.Join(policies, "policy.json")
		text := `{"default": [{"type": "reject"}], "transports": {"oci": {"` + strings.Replace(test.scope, "DIR", dir, 1) + `": [` + test.requirement + `]}}}`
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.WriteFile(filepath.Join(policies, "key.pub"), key.PEM, 0o600)); err != nil {
			t.Fatal(err)
		}
		for _, dockerfile := range []string{"FROM base\n", "FROM scratch\nCOPY --from=base /f /\n"} {
			got, err := built(t, Options{
				Context: t.TempDir(), Dockerfile: "-", Stdin: strings.NewReader(dockerfile), PolicyFile: file, Platforms: []string{"linux/amd64"},
				BuildContexts: map[string]string{"base": "oci-layout://" + filepath.Join(dir, "layout") + ":1"},
			})
			var denied *policy.DeniedError
			if test.why == "" && (err != nil || got["f"] != "local") || test.why != "" && (!errors.As(err, &denied) || !strings.Contains(err.Error(), test.why)) {
				t.Errorf("%s: %v, %v", text, got, err)
			}
		}
	}
}

// What executes nothing looks images up all the same, and so heeds the policy.
func TestPolicyInPlans(t *testing.T) {
	b := serveBases(t)
	for _, what := range []Inspection{InspectGraph, InspectLint} {
		o := b.options(t, "FROM HOST/closed:1\n")
		o.StateDir, o.Progress, o.ProgressTo = t.TempDir(), "quiet", io.Discard
		r, err := Inspect(t.Context(), o, what)
		if what == InspectLint && err == nil {
			err = r.Lint.Err
		}
		var denied *policy.DeniedError
		if !errors.As(err, &denied) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestPolicyRefusesNonsense(t *testing.T) {
	b := serveBases(t)
	for want, change := range map[string]func(*Options){
		"not one of enforce, warn": func(o *Options) { o.PolicyMode = "maybe" },
		"no such file":             func(o *Options) { o.PolicyFile = "/not/there" },
	} {
		o := b.options(t, "FROM HOST/open:1\n")
		change(&o)
		_, err := built(t, o)
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) || len(b.all()) > 0 {
			t.Errorf("the error is %v, want %q", err, want)
		}
	}
}
