package sbom

import (
	"strings"
	"testing"

	spdxjson "github.com/spdx/tools-golang/json"

	"github.com/slipway-build/slipway/pkg/tree"
)

// FuzzScan gives files of all kinds any content. Whatever it is, there is an inventory, and it can be written
// down as a valid document.
func FuzzScan(f *testing.F) {
	paths := []string{
		"var/lib/dpkg/status", "lib/apk/db/installed", "var/lib/rpm/Packages", "var/lib/rpm/Packages.db", "var/lib/rpm/rpmdb.sqlite",
		"a.dist-info/METADATA", "a.egg", "a.jar", "node_modules/a/package.json", "usr/bin/a", "etc/os-release",
	}
	for i := range paths {
		for _, seed := range []string{
			status("a", "1", installed), "P:a\nV:1\nL:MIT\n\n", "SQLite format 3\x00", "RpmP", "Name: a\nVersion: 1\n\n", "PK\x05\x06" + strings.Repeat("\x00", 18),
			`{"name":"a","version":"1","license":{"type":"MIT"}}`, "\x7fELF\x02\x01\x01", "\xff Go buildinf:\x08\x02", "ID=\"debian\"\n", "=\"",
		} {
			f.Add(uint8(i), seed)
		}
	}
	s := newState(f)
	f.Fuzz(func(t *testing.T, which uint8, content string) {
		var r recorder
		l := newLayer(t, r.file(paths[int(which)%len(paths)], 0o755, content), r.file("etc/debian_version", 0o644, "12\n"))
		inv, err := Scan(t.Context(), tree.New(l), Options{State: s})
		if err != nil {
			t.Fatal(err)
		}
		data, err := inv.SPDX(Document{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := spdxjson.Read(strings.NewReader(string(data))); err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if _, err := inv.CycloneDX(Document{}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzParseLicense gives licences that are none. What comes out is an expression all of whose parts are known.
func FuzzParseLicense(f *testing.F) {
	for _, s := range []string{"MIT", "(MIT OR Apache-2.0) AND x", "GPL-2.0-only WITH Classpath-exception-2.0", "((", "a b", "AND", "MIT+"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		l := parseLicense(raw)
		for _, w := range licenseWords(l.expression) {
			_, known := licenseID(w)
			if _, other := l.others[w]; !known && !other && !isOperator(w) && !strings.Contains(strings.ToLower(w), "exception") {
				t.Errorf("%q: %q has %q, which is nowhere explained", raw, l.expression, w)
			}
		}
		if again := parseLicense(l.expression); again.expression != l.expression {
			t.Errorf("%q: %q is taken for %q", raw, l.expression, again.expression)
		}
	})
}

// FuzzReadReports gives reports of any content; what is taken for one has a predicate.
func FuzzReadReports(f *testing.F) {
	f.Add(statement("{}"))
	f.Add(`{"predicateType":"https://spdx.dev/Document","predicate":[],"subject":[{"name":"a","digest":{}}]}`)
	f.Fuzz(func(t *testing.T, content string) {
		var r recorder
		reports, err := ReadReports(t.Context(), tree.New(newLayer(t, r.file("sbom.spdx.json", 0o644, content))))
		if err == nil && (len(reports) != 1 || len(reports[0].Predicate) == 0) {
			t.Errorf("reports %+v", reports)
		}
	})
}
