package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// A hermetic build's RUN has no network and finds nothing of earlier builds, and the provenance says so.
func TestHermetic(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	pinned := base + "@" + digestOf(t, base)
	context := write(t, map[string]string{"Dockerfile": "FROM " + pinned + `
RUN --mount=type=cache,target=/c,id=hermetic-test ls /c > /before && touch /c/left
RUN tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' > /interfaces
`})
	build := func(flags ...string) string {
		out := t.TempDir()
		mustSlipway(t, t.TempDir(), append([]string{"build", "--no-cache", "-o", "type=local,dest=" + out, "--provenance=true", "--insecure-registry", host}, append(flags, context)...)...)
		return out
	}
	build() // leaves a file in the cache
	if plain := build(); strings.TrimSpace(read(t, filepath.Join(plain, "interfaces"))) == "lo" {
		t.Error("a build that is not hermetic has no network")
	}
	hermetic := build("--hermetic")
	if got := read(t, filepath.Join(hermetic, "interfaces")); strings.TrimSpace(got) != "lo" {
		t.Errorf("RUN has the interfaces %q", got)
	}
	if got := read(t, filepath.Join(hermetic, "before")); got != "" {
		t.Errorf("RUN finds %q in its cache", got)
	}
	var s struct {
		Predicate struct {
			BuildDefinition struct {
				InternalParameters struct {
					Hermetic bool `json:"hermetic"`
				} `json:"internalParameters"`
			} `json:"buildDefinition"`
		} `json:"predicate"`
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(hermetic, "provenance.json"))), &s); err != nil || !s.Predicate.BuildDefinition.InternalParameters.Hermetic {
		t.Errorf("the provenance does not say it: %+v, %v", s, err)
	}
}

// What could make a hermetic build something else tomorrow is refused, with its line.
func TestHermeticRefuses(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	pinned := base + "@" + digestOf(t, base)
	for name, c := range map[string]struct{ dockerfile, want string }{
		"an image by its tag":      {"FROM scratch\nFROM " + base + "\n", "its digest is not given"},
		"COPY --from by a tag":     {"FROM scratch\nCOPY --from=" + base + " /bin /b\n", "its digest is not given"},
		"a URL":                    {"FROM scratch\nADD https://example.invalid/f /\n", "Dockerfile:2: source \"https://example.invalid/f\" denied by policy --hermetic: its checksum is not given"},
		"a repository by a branch": {"FROM scratch\nADD https://example.invalid/r.git#main /r\n", "Dockerfile:2: source \"git://example.invalid/r.git#main\" denied by policy --hermetic: its commit is not given"},
		"RUN with the network":     {"FROM " + pinned + "\nRUN --network=host true\n", "Dockerfile:2:"},
		"privileges":               {"# syntax=docker/dockerfile:1-labs\nFROM " + pinned + "\nRUN --security=insecure true\n", "the build is hermetic"},
	} {
		t.Run(name, func(t *testing.T) {
			context := write(t, map[string]string{"Dockerfile": c.dockerfile})
			o := slipway(t, t.TempDir(), "build", "--hermetic", "--allow", "security.insecure", "--no-push", "--insecure-registry", host, context)
			if o.code == 0 || !strings.Contains(o.stderr, c.want) {
				t.Errorf("exit code %d, wanted %q\n%s", o.code, c.want, o.stderr)
			}
		})
	}
	if o := slipway(t, t.TempDir(), "build", "--hermetic", "--no-push", "https://example.invalid/c.tar"); o.code == 0 || !strings.Contains(o.stderr, "its checksum is not given") {
		t.Errorf("an archive as context: exit code %d\n%s", o.code, o.stderr)
	}
	if o := slipway(t, t.TempDir(), "build", "--hermetic", "--no-push", "-f", "https://example.invalid/Dockerfile", t.TempDir()); o.code == 0 || !strings.Contains(o.stderr, "its checksum is not given") {
		t.Errorf("a Dockerfile by URL: exit code %d\n%s", o.code, o.stderr)
	}
}
