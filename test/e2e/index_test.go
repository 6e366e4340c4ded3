package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
)

// imageIndex is what the tests read of an image index.
type imageIndex struct {
	MediaType string `json:"mediaType"`
	Manifests []struct {
		Digest   string `json:"digest"`
		Platform struct {
			OS           string `json:"os"`
			Architecture string `json:"architecture"`
		} `json:"platform"`
	} `json:"manifests"`
	Annotations map[string]string `json:"annotations"`
}

// Two legs build for a platform each, in repositories and registries of their own, and hand over what they
// built in a result; the index of both is read back with skopeo.
func TestIndex(t *testing.T) {
	needTool(t, "skopeo")
	registry := distribution.Serve(t)
	host, log := registry.Host, registry.Log
	other, _ := registryWithBase(t)
	dir := t.TempDir()
	context := write(t, map[string]string{"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY x-$TARGETARCH /x\n", "x-amd64": "for amd64", "x-arm64": "for arm64"})
	leg := func(arch, tag string) string {
		t.Helper()
		results := filepath.Join(dir, arch)
		mustSlipway(t, dir, "build", "--platform", "linux/"+arch, "-t", tag, "--results-dir", results, context)
		return read(t, filepath.Join(results, "IMAGE_REF"))
	}
	refs := []string{leg("amd64", host+"/legs/app:amd64"), leg("arm64", other+"/legs/app:arm64")}

	results := filepath.Join(dir, "results")
	tag := host + "/team/app:v1"
	before := len(log())
	o := mustSlipway(t, dir, append([]string{"index", "--platform", "linux/amd64", "--platform", "linux/arm64",
		"--annotation", "org.opencontainers.image.title=app", "-t", tag, "--results-dir", results}, refs...)...)
	if o.stdout != "" || !strings.Contains(o.stderr, "copying linux/arm64 "+other+"/legs/app@sha256:") {
		t.Errorf("it printed %q, and said:\n%s", o.stdout, o.stderr)
	}
	requests := apiRequests(log()[before:])
	if n := len(requests); n < 2 || requests[n-1] != "PUT /v2/team/app/manifests/v1" ||
		requests[n-2] != "PUT /v2/team/app/manifests/"+read(t, filepath.Join(results, "IMAGE_DIGEST")) {
		t.Errorf("the last requests are not those of the index and its tag: %q", requests)
	}

	raw := tool(t, "skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+tag)
	var x imageIndex
	if err := json.Unmarshal([]byte(raw), &x); err != nil {
		t.Fatal(err)
	}
	if x.MediaType != "application/vnd.oci.image.index.v1+json" || x.Annotations["org.opencontainers.image.title"] != "app" || len(x.Manifests) != 2 {
		t.Fatalf("the index is\n%s", raw)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		m := x.Manifests[i]
		if m.Platform.OS != "linux" || m.Platform.Architecture != arch || !strings.HasSuffix(refs[i], "@"+m.Digest) {
			t.Errorf("entry %d is %+v, want %s for %s", i, m, refs[i], arch)
		}
	}
	tool(t, "skopeo", "--insecure-policy", "copy", "--all", "--quiet", "--src-tls-verify=false", "docker://"+tag, "oci:"+filepath.Join(dir, "all")+":app")

	// What it prints without a push is what it pushed.
	o = mustSlipway(t, dir, append([]string{"index", "--no-push", "--annotation", "org.opencontainers.image.title=app"}, refs...)...)
	if o.stdout != raw {
		t.Errorf("printed\n%s\npushed\n%s", o.stdout, raw)
	}
}

func TestIndexFailures(t *testing.T) {
	host, base := registryWithBase(t)
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args   []string
		code   int
		want   string
		reason string // the result ERROR_REASON
	}{
		"no image":        {[]string{"-t", host + "/x"}, 2, "no image to join", "UsageError"},
		"no tag":          {[]string{base}, 2, "give --tag", "UsageError"},
		"empty reference": {[]string{"-t", host + "/x", base, ""}, 2, "image 2 of 2 is empty", "UsageError"},
		"bad reference":   {[]string{"-t", host + "/x", "UP"}, 2, "UP", "UsageError"},
		"unknown flag":    {[]string{"--imgae", base}, 2, "--image", ""},
		"missing":         {[]string{"-t", host + "/x", "--platform", "linux/s390x", base}, 1, "none for platform linux/s390x", "BuildFailed"},
		"not there":       {[]string{"-t", host + "/x", host + "/nothing:1"}, 1, "check the spelling", "RegistryRefused"},
		"no registry":     {[]string{"-t", host + "/x", unusedAddress(t) + "/x:1"}, 75, "connection refused", "RegistryUnavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "no registry" && testing.Short() {
				t.Skip("waits for the pauses between attempts")
			}
			o := slipway(t, dir, append([]string{"index", "--results-dir", filepath.Join(dir, name)}, c.args...)...)
			if o.code != c.code || !strings.Contains(o.stderr, c.want) {
				t.Errorf("exit code %d, want %d, with %q:\n%s", o.code, c.code, c.want, o.stderr)
			}
			checkFailureResults(t, filepath.Join(dir, name), c.reason, c.want)
			if left, err := filepath.Glob(filepath.Join(dir, name, "*")); err != nil || len(left) != 0 {
				t.Errorf("results were written: %v, %v", left, err)
			}
		})
	}
}
