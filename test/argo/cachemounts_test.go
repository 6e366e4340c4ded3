package argo

import (
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/test/pod"
)

// isolations are how RUN is isolated in pods of these shapes, by the shape's name.
func isolations() map[string]string {
	return map[string]string{pod.Default().Name: "namespace", pod.Baseline().Name: "inplace"}
}

// What RUN --mount=type=cache had in one pod is there in the next, whose state directory is new.
func TestCacheMounts(t *testing.T) {
	onVolume, patch := exampleOf(t, "cache.yaml")
	for _, test := range []struct {
		name       string
		parameters map[string]string // REGISTRY stands for the registry
		patches    []string
		want       []string // the words that builds find, one after the other
	}{
		{
			name:       "repository",
			parameters: map[string]string{"cache": "true", "cache-repo": "REGISTRY/cache", "cache-mounts": `["off","words=both"]`},
			want:       []string{"one\n", "one\ntwo\n", "one\ntwo\nthree\n"},
		},
		{
			name:       "apart, and only so much",
			parameters: map[string]string{"cache-from": `["REGISTRY/cache"]`, "cache-to": `["REGISTRY/cache"]`, "cache-mounts": `["both"]`, "cache-mount-max-size": "6"},
			want:       []string{"one\n", "one\ntwo\n", "three\n"},
		},
		{name: "another cache", parameters: map[string]string{"cache": "true", "cache-mounts": `["others=both"]`}, want: []string{"one\n", "two\n"}},
		{name: "the example with a claim", parameters: onVolume, patches: []string{patch}, want: []string{"one\n", "one\ntwo\n"}},
	} {
		for _, shape := range []pod.Shape{pod.Default(), pod.Baseline()} {
			t.Run(test.name+", "+shape.Name, func(t *testing.T) {
				registry, claim := serveRegistry(t), t.TempDir()
				if err := os.Chmod(claim, 0o755); err != nil {
					t.Fatal(err)
				}
				source := archive(t, map[string]string{"Dockerfile": "FROM " + registry + "/base:1\nARG WORD\n" +
					"RUN --mount=type=cache,target=/c,id=words echo $WORD >> /c/words; cp /c/words /words\n"})
				parameters := map[string]string{}
				for name, value := range test.parameters {
					parameters[name] = strings.ReplaceAll(value, "REGISTRY", registry)
				}
				parameters["image"] = registry + "/team/app:v1"
				cluster := node{shape: shape, claims: map[string]string{"build-cache": claim}}
				for i, want := range test.want {
					given := maps.Clone(parameters)
					given["build-args"] = `["WORD=` + []string{"one", "two", "three"}[i] + `"]`
					tmpl := instance(t, templateNamed(t, slipway(t), "build"), argumentsOf(given, source), nil)
					o := cluster.run(t, podOf(t, tmpl, test.patches...))
					if o.exitCode != 0 || !strings.Contains(o.log, "isolation: "+isolations()[shape.Name]) {
						t.Fatalf("exit code %d\n%s", o.exitCode, o.log)
					}
					if got := filesOf(t, imageOf(t, parameters["image"]))["words"]; got != want {
						t.Errorf("build %d finds %q in its cache, want %q", i+1, got, want)
					}
				}
			})
		}
	}
}
