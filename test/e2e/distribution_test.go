package e2e

import (
	"bytes"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
)

// lockedBuffer is a buffer that is written by one goroutine and read by another.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A push to the common registry's implementation, base image included: what it has already is not
// sent again, and the tag comes last.
func TestPushToDistribution(t *testing.T) {
	registry := distribution.Serve(t)
	host, log := registry.Host, registry.Log
	needTool(t, "skopeo")
	source, base := registryWithBase(t)
	tool(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+base, "docker://"+host+"/base/busybox:e2e")

	context := write(t, map[string]string{"Dockerfile": "ARG BASE\nFROM ${BASE}\nCOPY x /x\n", "x": "x"})
	dir := t.TempDir()
	build := func(tag string) {
		t.Helper()
		// The time of creation is in the config; without a fixed one that would differ.
		mustSlipway(t, dir, "build", "--source-date-epoch", "1700000000", "--build-arg", "BASE="+host+"/base/busybox:e2e", "--insecure-registry", host, "--insecure-registry", source, "-t", tag, context)
	}
	before := len(log())
	build(host + "/team/app:v1")
	requests := apiRequests(log()[before:])
	if n := len(requests); n == 0 || requests[n-1] != "PUT /v2/team/app/manifests/v1" {
		t.Errorf("the last request is not the tag's: %q", requests)
	}
	fetched := filepath.Join(dir, "fetched")
	tool(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "docker://"+host+"/team/app:v1", "oci:"+fetched+":app")
	if image := verifyLayout(t, fetched); len(image.manifest.Layers) != 2 {
		t.Errorf("%d layers, want the base's and one", len(image.manifest.Layers))
	}

	// The same layers once more, under another tag: nothing is uploaded.
	before = len(log())
	build(host + "/team/app:v2")
	for _, r := range apiRequests(log()[before:]) {
		if strings.HasPrefix(r, "PATCH ") {
			t.Errorf("a blob was uploaded that the registry had: %s", r)
		}
	}
}

// apiRequests gives the changing requests in an access log, "METHOD PATH", without queries.
func apiRequests(log string) []string {
	return requests(log, "PUT", "POST", "PATCH")
}

// requests gives the requests of some methods in an access log, "METHOD PATH", without queries.
func requests(log string, methods ...string) []string {
	var all []string
	for line := range strings.Lines(log) {
		for _, method := range methods {
			if _, rest, ok := strings.Cut(line, `"`+method+" "); ok {
				path, _, _ := strings.Cut(rest, " ")
				path, _, _ = strings.Cut(path, "?")
				all = append(all, method+" "+path)
			}
		}
	}
	return all
}
