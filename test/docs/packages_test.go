package docs

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/slipway-build/slipway/"

// packageInfo is what "go list -json" says about a package.
type packageInfo struct {
	ImportPath string
	Imports    []string
}

// packages gives the packages of this module that are part of the program or its tools.
func packages(t *testing.T) []packageInfo {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./cmd/...", "./internal/...", "./pkg/...", "./results/...")
	cmd.Dir = top
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []packageInfo
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p packageInfo
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		// The suites for implementations of an interface, and programs for tests.
		suite := strings.HasSuffix(p.ImportPath, "test") && !strings.HasSuffix(p.ImportPath, "/attest")
		if suite || strings.Contains(p.ImportPath, "/testdata/") {
			continue
		}
		all = append(all, p)
	}
}

// ARCHITECTURE.md lists every package, and every package imports only packages that are listed
// below it.
func TestPackageMap(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(top, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:cmd|internal|pkg|results)[a-z0-9/]*)` \\|").FindAllStringSubmatch(string(text), -1) {
		listed = append(listed, m[1])
	}
	var found []string
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		found = append(found, name)
		place := slices.Index(listed, name)
		if place < 0 {
			t.Errorf("ARCHITECTURE.md does not list %s", name)
			continue
		}
		for _, imported := range p.Imports {
			imported, ours := strings.CutPrefix(imported, module)
			if ours && slices.Index(listed, imported) <= place {
				t.Errorf("%s imports %s, which does not stand below it in ARCHITECTURE.md", name, imported)
			}
		}
	}
	for _, name := range listed {
		if !slices.Contains(found, name) {
			t.Errorf("ARCHITECTURE.md lists %s, which is no package", name)
		}
	}
}
