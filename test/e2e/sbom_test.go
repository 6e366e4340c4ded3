package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

// scannerScript speaks BuildKit's scanner protocol: of each root filesystem it reports one file. What it writes elsewhere is lost.
const scannerScript = `set -eu
for source in "$BUILDKIT_SCAN_SOURCE" "$BUILDKIT_SCAN_SOURCE_EXTRAS"/*; do
	touch /tmp/changed /changed
	printf '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{"found":"%s %s"}}' \
		"$(cat "$source/made")" "$BUILDKIT_SCAN_LEVEL" >"$BUILDKIT_SCAN_DESTINATION${source##*/}.spdx.json"
done
`

// staged is an image and a stage that are told apart by a file.
const staged = `ARG BUILDKIT_SBOM_SCAN_STAGE=true
FROM BASE AS tools
RUN echo tools >/made && mkdir -p /app/node_modules/tool && echo '{"name":"tool","version":"1.0.0"}' >/app/node_modules/tool/package.json
FROM BASE
COPY --from=tools /bin/busybox /copied
RUN echo app >/made && mkdir -p /app/node_modules/library && echo '{"name":"library","version":"2.0.0"}' >/app/node_modules/library/package.json
`

// documents are the predicates of the statements that an output to a directory has, by name.
func documents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "sbom*.json"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range files {
		var s struct {
			PredicateType string
			Predicate     json.RawMessage
		}
		if err := json.Unmarshal([]byte(read(t, f)), &s); err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = string(s.Predicate)
	}
	return all
}

// An image that speaks the scanner protocol makes the bills of materials, under each isolation.
func TestSBOMByScanner(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	scanner := write(t, map[string]string{"Dockerfile": "FROM " + base + "\nCOPY scan /scan\nENTRYPOINT [\"/bin/sh\", \"/scan\"]\n", "scan": scannerScript})
	mustSlipway(t, scanner, "build", "-t", host+"/scanner:1", ".")
	dir := write(t, map[string]string{"Dockerfile": strings.ReplaceAll(staged, "BASE", base)})
	for _, isolation := range []string{"namespace", "inplace"} {
		t.Run(isolation, func(t *testing.T) {
			out := t.TempDir()
			mustIsolate(t, isolation, map[string]string{"context": dir, "out": out},
				"build", "--attest", "type=sbom,generator="+host+"/scanner:1,LEVEL=high", "-o", "type=local,dest=$out", "$context")
			got := documents(t, out)
			if len(got) != 2 || got["sbom.spdx.json"] != `{"found":"app high"}` || got["sbom-tools.spdx.json"] != `{"found":"tools high"}` {
				t.Errorf("the scanner's reports are %q", got)
			}
			if changed, err := filepath.Glob(filepath.Join(out, "changed")); err != nil || len(changed) > 0 {
				t.Errorf("the scanner has changed the image: %q, %v", changed, err)
			}
		})
	}
}

// A scanner that fails, or writes something else, fails the build with what it said.
func TestSBOMByBrokenScanner(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	dir := write(t, map[string]string{"Dockerfile": "FROM " + base + "\nRUN true\n"})
	for name, test := range map[string]struct{ script, want string }{
		"fails":   {"echo out of paper; exit 3", "out of paper"},
		"nothing": {"true", "no report"},
		"other":   {"echo hello >$BUILDKIT_SCAN_DESTINATION/sbom.spdx.json", "no in-toto statement"},
	} {
		t.Run(name, func(t *testing.T) {
			scanner := write(t, map[string]string{"Dockerfile": "FROM " + base + "\nENTRYPOINT " + test.script + "\n"})
			mustSlipway(t, scanner, "build", "-t", host+"/"+name+":1", ".")
			out := t.TempDir()
			o := slipway(t, dir, "build", "--attest", "type=sbom,generator="+host+"/"+name+":1", "-o", "type=local,dest="+out, ".")
			if o.code == 0 || !strings.Contains(o.stderr, test.want) {
				t.Errorf("exit code %d\n%s", o.code, o.stderr)
			}
			if left, err := filepath.Glob(filepath.Join(out, "*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %q, %v", left, err)
			}
		})
	}
}

// Builds of the same, one of them out of a cache, have the same bills of materials, byte for byte: of the image and of the stage.
func TestSBOMIsReproducible(t *testing.T) {
	needRoot(t)
	_, base := registryWithBase(t)
	dir := write(t, map[string]string{"Dockerfile": strings.ReplaceAll(staged, "BASE", base)})
	cache := t.TempDir()
	var first map[string]string
	for _, state := range []string{t.TempDir(), t.TempDir()} {
		out := t.TempDir()
		mustSlipway(t, dir, "build", "--sbom=format=both", "--build-arg", "SOURCE_DATE_EPOCH=1700000000", "--state-dir", state,
			"--cache", "--cache-repo", "file://"+cache, "-o", "type=local,dest="+out, ".")
		got := documents(t, out)
		if len(got) != 4 || !strings.Contains(got["sbom.spdx.json"], "pkg:npm/library@2.0.0") || !strings.Contains(got["sbom-tools.cdx.json"], "pkg:npm/tool@1.0.0") {
			t.Fatalf("bills of materials: %q", got)
		}
		if strings.Contains(got["sbom.spdx.json"], "pkg:npm/tool") {
			t.Error("what only the stage has is in the image's")
		}
		if first == nil {
			first = got
		}
		for name := range first {
			if got[name] != first[name] {
				t.Errorf("%s is\n%s\nand then\n%s", name, first[name], got[name])
			}
		}
	}
}
