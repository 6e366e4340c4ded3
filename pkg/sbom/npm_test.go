package sbom

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/pkg/tree"
)

// npmTree is what "npm ls" says of a module.
type npmTree struct {
	Name, Version string
	Dependencies  map[string]npmTree
	Missing       bool
}

func (n npmTree) list(into map[string]bool) {
	for name, d := range n.Dependencies {
		if d.Version != "" && !d.Missing {
			into[name+" "+d.Version] = true
		}
		d.list(into)
	}
}

// Of a project every module is found that "npm ls --all" lists, and no other: nested ones in two versions,
// ones of a scope, and a workspace, which is there by a symbolic link.
func TestNPMAsNPMList(t *testing.T) {
	npm := tool(t, "npm")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "package.json"), `{
		"name": "project", "version": "1.0.0", "workspaces": ["tools/*"],
		"dependencies": {"express": "4.19.2", "@babel/code-frame": "7.24.7", "debug": "4.3.4", "nan-as": "npm:is-nan@1.3.2"}
	}`)
	write(t, filepath.Join(dir, "tools/helper/package.json"), `{"name": "@project/helper", "version": "0.1.0", "license": "MIT"}`)
	write(t, filepath.Join(dir, "templates/new/package.json"), `{"name": "template", "version": "9.9.9"}`)
	install := exec.CommandContext(t.Context(), npm, "install", "--no-audit", "--no-fund", "--ignore-scripts")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm install: %v\n%s", err, out)
	}
	ls := exec.CommandContext(t.Context(), npm, "ls", "--all", "--json")
	ls.Dir = dir
	out, err := ls.Output()
	if err != nil {
		t.Fatalf("npm ls: %v", err)
	}
	var root npmTree
	if err := json.Unmarshal(out, &root); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"project 1.0.0": true}
	root.list(names)
	var want []string
	for name := range names {
		// npm lists the module by the name that the project gives it.
		want = append(want, strings.Replace(name, "nan-as ", "is-nan ", 1))
	}
	slices.Sort(want)
	if len(want) < 50 {
		t.Fatalf("npm ls lists only %d modules", len(want))
	}
	s := newState(t)
	inv := scanned(t, dirTree(t, dir, s), s)
	got := listed(inv, "npm")
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modules (-npm ls +scan):\n%s", diff)
	}
	for _, p := range inv.Packages() {
		if p.Type == "npm" && p.License == "" && p.Name != "project" {
			t.Errorf("%s has no licence", p.PURL)
		}
	}
}

// What counts is what is installed.
func TestNPMInstalled(t *testing.T) {
	var r recorder
	module := `{"name":"m","version":"1.0.0"}`
	for _, test := range []struct {
		name, path, content string
		want                []string
	}{
		{"a module", "app/node_modules/m/package.json", module, []string{"m 1.0.0"}},
		{"a module of a scope", "app/node_modules/@s/m/package.json", `{"name":"@s/m","version":"1.0.0"}`, []string{"@s/m 1.0.0"}},
		{"a module of Debian's", "usr/share/nodejs/m/package.json", module, []string{"m 1.0.0"}},
		{"a module of pnpm's store", "app/node_modules/.pnpm/m@1.0.0/node_modules/m/package.json", module, []string{"m 1.0.0"}},
		{"a module without a version", "app/node_modules/m/package.json", `{"name":"m"}`, []string{"m"}},
		{"fields of odd types", "app/node_modules/m/package.json",
			`{"name":"m","version":"1.0.0","author":["x"],"dependencies":[],"contributors":7,"license":{"type":1}}`, []string{"m 1.0.0"}},
		{"a part of a module", "app/node_modules/m/esm/package.json", module, nil},
		{"a test of a module", "app/node_modules/m/test/fixtures/x/package.json", module, nil},
		{"a directory of npm's own", "app/node_modules/.cache/package.json", module, nil},
		{"a project without modules", "app/package.json", module, nil},
		{"no name", "app/node_modules/m/package.json", `{"type":"module"}`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			inv := scanned(t, tree.New(newLayer(t, r.file(test.path, 0o644, test.content))), newState(t))
			if diff := cmp.Diff(test.want, listed(inv, "npm")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNPMLicense(t *testing.T) {
	for content, want := range map[string]string{
		`{}`:                                   "",
		`{"license":" MIT "}`:                  "MIT",
		`{"license":{"type":"BSD","url":"x"}}`: "BSD",
		`{"licenses":[{"type":"MIT"},{"type":"GPL-2.0"}]}`: "(MIT OR GPL-2.0)",
		`{"licenses":["MIT"]}`:                             "MIT",
		`{"licenses":"MIT"}`:                               "MIT",
		`{"license":null,"licenses":{"type":"ISC"}}`:       "ISC",
	} {
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(content), &m); err != nil {
			t.Fatal(err)
		}
		if got := npmLicense(m); got != want {
			t.Errorf("%s: %q, want %q", content, got, want)
		}
	}
}
