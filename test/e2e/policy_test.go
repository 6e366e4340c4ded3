package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-build/slipway/internal/testbase/cosigned"
	"github.com/slipway-build/slipway/internal/testbase/distribution"
)

// signedBases are images in Debian's registry, and a policy about them.
type signedBases struct {
	registry *distribution.Registry
	dir      string // has policy.json
	refs     map[string]string
}

func serveSignedBases(t *testing.T) *signedBases {
	t.Helper()
	s := &signedBases{registry: distribution.Serve(t), refs: map[string]string{}}
	key, other := cosigned.NewKey(t), cosigned.NewKey(t)
	for _, repo := range []string{"signed", "unsigned", "tampered", "foreign", "elsewhere", "rejected"} {
		s.refs[repo] = s.push(t, "team/"+repo)
	}
	key.Sign(t, s.refs["signed"], cosigned.Claim{})
	key.Tamper(t, s.refs["tampered"])
	other.Sign(t, s.refs["foreign"], cosigned.Claim{})
	key.Sign(t, s.refs["elsewhere"], cosigned.Claim{Reference: s.registry.Host + "/team/signed"})
	s.dir = write(t, map[string]string{
		"policy.json": strings.ReplaceAll(`{"default": [{"type": "reject"}], "transports": {"docker": {
			"HOST/team": [{"type": "sigstoreSigned", "keyData": "KEY", "signedIdentity": {"type": "matchRepository"}}],
			"HOST/team/rejected": [{"type": "reject"}]}}}`, "HOST", s.registry.Host),
	})
	file := filepath.Join(s.dir, "policy.json")
	if err := os.WriteFile(file, []byte(strings.Replace(read(t, file), "KEY", key.Base64(), 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// push pushes an image that has a digest of its own.
func (s *signedBases) push(t *testing.T, repo string) string {
	t.Helper()
	image, err := shared.base.Image()
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.Config(image, v1.Config{Labels: map[string]string{"repository": repo}, Env: []string{"PATH=/bin"}}); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(s.registry.Host + "/" + repo + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return tag.Digest(digest.String()).String()
}

// The binary says of what a policy denies why, where, and with which exit code.
func TestImagePolicy(t *testing.T) {
	s := serveSignedBases(t)
	for _, test := range []struct {
		repo, why string // "" if it is allowed
		read      []string
	}{
		{"signed", "", nil},
		{"unsigned", "it has no signature", []string{"manifests"}},
		{"tampered", "invalid signature", []string{"manifests", "signature"}},
		{"foreign", "invalid signature", []string{"manifests", "signature"}},
		{"elsewhere", "it is for the repository " + "HOST/team/signed", []string{"manifests", "signature"}},
		{"rejected", `denied by policy`, nil},
	} {
		t.Run(test.repo, func(t *testing.T) {
			ref := s.registry.Host + "/team/" + test.repo + ":1"
			dir := write(t, map[string]string{"c/Dockerfile": "FROM scratch AS a\nFROM " + ref + "\nRUN echo built > /f\n"})
			before := len(s.registry.Log())
			o := slipway(t, dir, "build", "--no-push", "--insecure-registry", s.registry.Host, "--policy-dir", s.dir, "--results-dir", "results", "c")
			log := s.registry.Log()[before:]
			if test.why == "" {
				if o.code != 0 {
					t.Errorf("exit code %d\n%s", o.code, o.stderr)
				}
			} else {
				want := fmt.Sprintf("Dockerfile:2: %s: image %q denied by policy %s", ref, ref, filepath.Join(s.dir, "policy.json"))
				why := strings.ReplaceAll(test.why, "HOST", s.registry.Host)
				if o.code != 1 || !strings.Contains(o.stderr, want) || !strings.Contains(o.stderr, why) {
					t.Errorf("exit code %d, want %q and %q\n%s", o.code, want, why, o.stderr)
				}
				if got := read(t, filepath.Join(dir, "results", "ERROR_REASON")); got != "PolicyDenied" {
					t.Errorf("reason %q", got)
				}
				// Of blobs, one or none was read: what is signed. It is far smaller than anything else.
				blobs := strings.Count(log, fmt.Sprintf("GET /v2/team/%s/blobs/", test.repo))
				if allowed := len(test.read) == 2; blobs > 1 || blobs == 1 && !allowed || test.read == nil && strings.Contains(log, "/v2/team/") {
					t.Errorf("the registry was asked for:\n%s", log)
				}
			}
		})
	}
}

// Skopeo understands the same files in the same way. (Debian's cannot verify sigstore's signatures.)
func TestImagePolicyAsSkopeoHasIt(t *testing.T) {
	needTool(t, "skopeo")
	s := &signedBases{registry: distribution.Serve(t), refs: map[string]string{}}
	host := s.registry.Host
	pinned := s.push(t, "team/sub/app")
	tag := host + "/team/sub/app:1"
	const accept, reject = `[{"type": "insecureAcceptAnything"}]`, `[{"type": "reject"}]`
	for _, c := range []struct {
		policy string // of the default, and of scopes
		ref    string
		allows bool
	}{
		{`{"default": ` + accept + `}`, tag, true},
		{`{"default": ` + reject + `}`, tag, false},
		{`{"default": ` + reject + `, "transports": {"docker": {"": ` + accept + `}}}`, tag, true},
		{`{"default": ` + reject + `, "transports": {"oci": {"": ` + accept + `}}}`, tag, false},
		{`{"default": ` + reject + `, "transports": {"docker": {"HOST": ` + accept + `}}}`, tag, true},
		{`{"default": ` + reject + `, "transports": {"docker": {"HOST/te": ` + accept + `}}}`, tag, false},
		{`{"default": ` + reject + `, "transports": {"docker": {"HOST/team": ` + accept + `, "HOST": ` + reject + `}}}`, tag, true},
		{`{"default": ` + accept + `, "transports": {"docker": {"HOST/team/sub": ` + reject + `, "HOST/team": ` + accept + `}}}`, tag, false},
		{`{"default": ` + accept + `, "transports": {"docker": {"HOST/team/sub/app:1": ` + reject + `}}}`, tag, false},
		{`{"default": ` + accept + `, "transports": {"docker": {"HOST/team/sub/app:1": ` + reject + `}}}`, pinned, true},
		{`{"default": ` + accept + `, "transports": {"docker": {"` + pinned + `": ` + reject + `}}}`, pinned, false},
		{`{"default": ` + reject + `, "transports": {"docker": {"*.0.0.1": ` + accept + `}}}`, tag, true},
		{`{"default": ` + reject + `, "transports": {"docker": {"*.0.1": ` + accept + `}}}`, tag, true},
		{`{"default": ` + reject + `, "transports": {"docker": {"127.0.0.1": ` + accept + `}}}`, tag, false},
		{`{"default": [{"type": "insecureAcceptAnything"}, {"type": "reject"}]}`, tag, false},
		{`{"default": []}`, tag, false},
		{`{"default": ` + accept + `, "Transports": {}}`, tag, false},
		{`{"default": ` + accept + `, "default": ` + accept + `}`, tag, false},
		{`{"default": [{"type": "insecureAcceptAnything", "keyPath": "x"}]}`, tag, false},
		{`{"transports": {}}`, tag, false},
	} {
		dir := write(t, map[string]string{"policy.json": strings.ReplaceAll(c.policy, "HOST", host), "c/Dockerfile": "FROM " + c.ref + "\n"})
		o := slipway(t, dir, "plan", "--insecure-registry", host, "--policy", "policy.json", "c")
		out, err := exec.CommandContext(t.Context(), "skopeo", "--policy", filepath.Join(dir, "policy.json"), "copy", "--quiet", "--src-tls-verify=false", "docker://"+c.ref, "dir:"+t.TempDir()).CombinedOutput()
		if (o.code == 0) != c.allows || (err == nil) != c.allows {
			t.Errorf("%s of %s: exit code %d, and skopeo's error is %v\n%s%s", c.policy, c.ref, o.code, err, o.stderr, out)
		}
	}
}

// With warnings only, everything can be used.
func TestImagePolicyWarns(t *testing.T) {
	s := serveSignedBases(t)
	dir := write(t, map[string]string{"c/Dockerfile": "FROM " + s.refs["unsigned"] + "\nCOPY --from=" + s.refs["rejected"] + " /bin /b\n"})
	o := mustSlipway(t, dir, "build", "--no-push", "--insecure-registry", s.registry.Host, "--policy", filepath.Join(s.dir, "policy.json"), "--policy-mode=warn", "c")
	for _, repo := range []string{"unsigned", "rejected"} {
		if n := strings.Count(o.stderr, fmt.Sprintf("image %q denied by policy", s.refs[repo])); n != 1 {
			t.Errorf("%d warnings about %s\n%s", n, repo, o.stderr)
		}
	}
	if o := slipway(t, dir, "build", "--no-push", "--policy", filepath.Join(s.dir, "policy.json"), "--policy-mode=never", "c"); o.code != 2 {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
}

// What is warmed is decided about, too.
func TestImagePolicyOfWarmer(t *testing.T) {
	s := serveSignedBases(t)
	dir := t.TempDir()
	warm := func(repo string) outcome {
		return slipway(t, dir, "cache", "warm", "--insecure-registry", s.registry.Host, "--cache-dir", "cache", "--policy-dir", s.dir, s.registry.Host+"/team/"+repo+":1")
	}
	for _, repo := range []string{"unsigned", "rejected"} {
		before := len(s.registry.Log())
		if o := warm(repo); o.code != 1 || !strings.Contains(o.stderr, "denied by policy") || strings.Contains(s.registry.Log()[before:], "/blobs/") {
			t.Errorf("%s: exit code %d\n%s", repo, o.code, o.stderr)
		}
	}
	if o := warm("signed"); o.code != 0 || !strings.Contains(o.stderr, "/team/signed:1 for") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
}
