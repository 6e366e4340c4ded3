package argo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/test/pod"
)

// A pod without any permission fills the volume of a claim. One image that does not exist does not matter; if none does, the
// step fails.
func TestCacheWarm(t *testing.T) {
	registry := serveRegistry(t)
	claim := t.TempDir()
	if err := os.Chmod(claim, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		images string
		code   int
		said   string
	}{
		{`["` + registry + `/base:1","` + registry + `/none:1"]`, 0, "1 of 2 base images could not be fetched"},
		{`["` + registry + `/none:1"]`, 1, registry + "/none:1"},
	} {
		tmpl := instance(t, templateNamed(t, slipway(t), "cache-warm"), values(map[string]string{
			"images": test.images, "claim": "base-images", "platforms": `["linux/amd64"]`,
		}), nil)
		o := node{shape: pod.Restricted(), claims: map[string]string{"base-images": claim}}.run(t, podOf(t, tmpl))
		if o.exitCode != test.code || !strings.Contains(o.log, test.said) {
			t.Errorf("%s: exit code %d\n%s", test.images, o.exitCode, o.log)
		}
	}
	index, err := os.ReadFile(filepath.Join(claim, "index.json"))
	if err != nil || !strings.Contains(string(index), registry+"/base:1") {
		t.Errorf("index.json is %s, %v", index, err)
	}
}
