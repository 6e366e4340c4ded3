package sbom

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// status is an entry of dpkg's status file.
func status(name, version, state string) string {
	return "Package: " + name + "\nStatus: " + state + "\nArchitecture: amd64\nVersion: " + version + "\n\n"
}

const installed = "install ok installed"

// closed is a layer whose contents nobody may read.
type closed struct {
	layer.Layer
	t *testing.T
}

func (c *closed) Open(_ context.Context, path string) (io.ReadCloser, error) {
	c.t.Errorf("%s of a layer without packages was opened", path)
	return nil, errors.New("not to be opened")
}

// Only files in which packages may be recorded are opened, and of layers without any nothing is read.
func TestScanOpensWhatItNeeds(t *testing.T) {
	var r recorder
	other := newLayer(t,
		r.file("srv/data.bin.txt", 0o644, "data"),
		r.file("usr/share/doc/README", 0o644, "text"),
		r.file("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\n"),
		r.file("app/package.json", 0o644, `{"name":"template","version":"1"}`),
		r.file("app/Cargo.lock", 0o644, "[[package]]\nname = \"source\"\nversion = \"1.0.0\"\n"),
	)
	with := newLayer(t,
		r.file("var/lib/dpkg/status", 0o644, status("hello", "2.10-3", installed)),
		r.file("var/lib/dpkg/info/hello.list", 0o644, "/usr/bin/hello\n"),
		r.file("usr/bin/script", 0o755, "#!/bin/sh\n"),
		r.file("etc/os-release", 0o644, "ID=debian\nVERSION_ID=12\n"),
	)
	s := newState(t)
	inv := scanned(t, tree.New(&closed{other, t}, with), s)
	if diff := cmp.Diff([]string{"hello 2.10-3"}, listed(inv, "deb")); diff != "" {
		t.Error(diff)
	}
	slices.Sort(r.opened)
	opened := slices.Compact(r.opened)
	if diff := cmp.Diff([]string{"etc/os-release", "usr/bin/script", "var/lib/dpkg/status"}, opened); diff != "" {
		t.Errorf("opened (-want +got):\n%s", diff)
	}
}

// What a layer deletes or replaces is not there; what stays is found in the layer that it is of.
func TestScanSeesTheMergedTree(t *testing.T) {
	var r recorder
	lower := newLayer(t,
		r.file("var/lib/dpkg/status", 0o644, status("old", "1", installed)+status("hello", "1", installed)),
		r.file("app/node_modules/gone/package.json", 0o644, `{"name":"gone","version":"1.0.0"}`),
		r.file("app/node_modules/stays/package.json", 0o644, `{"name":"stays","version":"1.0.0"}`),
	)
	upper := newLayer(t,
		r.file("var/lib/dpkg/status", 0o644, status("hello", "2", installed)+status("removed", "1", "deinstall ok config-files")),
		layer.File{Entry: layer.Entry{Path: "app/node_modules/gone", Type: layer.Whiteout}},
	)
	inv := scanned(t, tree.New(lower, upper), newState(t))
	if diff := cmp.Diff([]string{"hello 2"}, listed(inv, "deb")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"stays 1.0.0"}, listed(inv, "npm")); diff != "" {
		t.Error(diff)
	}
	for _, p := range inv.Packages() {
		want := map[string]layer.Layer{"deb": upper, "npm": lower}[p.Type]
		if len(p.Locations) != 1 || p.Locations[0].Layer != want {
			t.Errorf("locations of %s: %+v", p.Name, p.Locations)
		}
	}
}

// A package that is installed in several places is one, with several locations.
func TestScanMergesPackages(t *testing.T) {
	var r recorder
	const same = `{"name":"same","version":"1.0.0","license":"MIT"}`
	inv := scanned(t, tree.New(newLayer(t,
		r.file("b/node_modules/same/package.json", 0o644, same),
		r.file("a/node_modules/same/package.json", 0o644, same),
	)), newState(t))
	packages := inv.Packages()
	if len(packages) != 1 || packages[0].PURL != "pkg:npm/same@1.0.0" || packages[0].License != "MIT" {
		t.Fatalf("packages: %+v", packages)
	}
	var got []string
	for _, l := range packages[0].Locations {
		got = append(got, l.Path)
	}
	if diff := cmp.Diff([]string{"a/node_modules/same/package.json", "b/node_modules/same/package.json"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestScanOfNothing(t *testing.T) {
	inv := scanned(t, nil, newState(t))
	if n := len(inv.Packages()); n != 0 {
		t.Errorf("%d packages in the empty tree", n)
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	var r recorder
	tr := tree.New(newLayer(t, r.file("var/lib/dpkg/status", 0o644, status("a", "1", installed))))
	if _, err := tr.View(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	_, err := Scan(ctx, tr, Options{State: newState(t)})
	if !errors.Is(err, enough) {
		t.Errorf("error %v, want the cause of the context's end", err)
	}
}

// A content that cannot be had is an error, unlike one that is broken: another time it can.
func TestScanFailsWithItsLayer(t *testing.T) {
	broken := errors.New("connection lost")
	l := newLayer(t, layer.File{
		Entry:   layer.Entry{Path: "var/lib/dpkg/status", Type: layer.Regular, Mode: 0o644, Size: 10},
		Content: failing{broken},
	})
	_, err := Scan(t.Context(), tree.New(l), Options{State: newState(t)})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "/var/lib/dpkg/status") {
		t.Errorf("error %v", err)
	}
}

type failing struct{ err error }

func (f failing) Open(context.Context) (io.ReadCloser, error) { return nil, f.err }
