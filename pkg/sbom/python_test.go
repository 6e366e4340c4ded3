package sbom

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/pkg/tree"
)

// Of Python packages, with metadata in all the forms that Debian has, those are found that Python lists.
func TestPythonAsPython(t *testing.T) {
	python := tool(t, "python3")
	dir := debs(t, "python3-wheel", "python3-requests", "python3-tomli", "python3-simplejson", "python3-charset-normalizer")
	want := output(t, python, "-c", `
import sys, importlib.metadata as m
for d in sorted((d.metadata["Name"], d.version) for d in m.distributions(path=sys.argv[1:])):
    print(*d)
`, filepath.Join(dir, "usr/lib/python3/dist-packages"))
	if len(want) != 5 {
		t.Fatalf("Python lists %q", want)
	}
	s := newState(t)
	inv := scanned(t, dirTree(t, dir, s), s)
	got := listed(inv, "pypi")
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages (-python +scan):\n%s", diff)
	}
}

// A package is what its metadata say; a wheel is not installed.
func TestPythonInstalled(t *testing.T) {
	const metadata = "Metadata-Version: 2.1\nName: Some.Pkg\nVersion: 1.0\n"
	zipped := zipFile(t, zipEntry{"EGG-INFO/PKG-INFO", metadata}, zipEntry{"some/__init__.py", ""})
	var r recorder
	for _, test := range []struct {
		path, content, want, license string
	}{
		{"site-packages/some.pkg-1.0.dist-info/METADATA", metadata + "License: MIT\n\nLicense: not this\n", "pkg:pypi/some-pkg@1.0", "MIT"},
		{"site-packages/some.pkg-1.0.dist-info/METADATA", metadata + "License: old\nLicense-Expression: Apache-2.0\n", "pkg:pypi/some-pkg@1.0", "Apache-2.0"},
		{"site-packages/some.pkg-1.0.dist-info/METADATA", metadata + "License: " + strings.Repeat("a whole text ", 20) + "\n", "pkg:pypi/some-pkg@1.0", ""},
		{"dist-packages/some.egg-info/PKG-INFO", metadata, "pkg:pypi/some-pkg@1.0", ""},
		{"dist-packages/some-1.0.egg-info", metadata + "License: UNKNOWN\n", "pkg:pypi/some-pkg@1.0", ""},
		{"dist-packages/some-1.0-py3.egg", zipped, "pkg:pypi/some-pkg@1.0", ""},
		{"wheels/some.pkg-1.0-py3-none-any.whl", zipped, "", ""},
	} {
		inv := scanned(t, tree.New(newLayer(t, r.file("usr/lib/python3/"+test.path, 0o644, test.content))), newState(t))
		var purl, license string
		for _, p := range inv.Packages() {
			purl += p.PURL
			license += p.License
		}
		if purl != test.want || license != test.license {
			t.Errorf("%s: %q %q, want %q %q", test.path, purl, license, test.want, test.license)
		}
	}
}
