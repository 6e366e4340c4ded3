package sbom

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// zeros is a text of n bytes that compresses well.
func zeros(n int) string { return strings.Repeat("0", n) }

// nested is a Java archive in n others.
func nested(t *testing.T, n int, innermost string) string {
	t.Helper()
	for range n {
		innermost = zipFile(t, zipEntry{"inner.jar", innermost})
	}
	return innermost
}

// claimed is a zip file with an entry that says of itself to be so large.
func claimed(t *testing.T, name string, size uint64) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Deflate, UncompressedSize64: size, CompressedSize64: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(f, "abc"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// allocated is how much memory f allocates in all, in bytes.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Files that are broken, or made to take all memory, give a warning; the rest of the tree counts, and
// memory stays bounded.
func TestScanOfHostileFiles(t *testing.T) {
	manifest := "META-INF/MANIFEST.MF"
	bomb := deflated(t, io.LimitReader(endless{}, maxCrates+1))
	crates, err := os.ReadFile(rustProgram(t, bomb))
	if err != nil {
		t.Fatal(err)
	}
	entries := make([]zipEntry, maxDirectory/60_000+1)
	for i := range entries {
		entries[i].name = strconv.Itoa(i) + zeros(60_000)
	}
	for _, test := range []struct {
		name, path, content string
		memory              uint64 // MiB that it may take
		want                string // of the warning
	}{
		{"an archive with a large manifest", "a.jar", zipFile(t, zipEntry{manifest, zeros(maxMetadata + 1)}), 64, "larger inside"},
		{"the same in an archive in it", "a.jar", nested(t, 3, zipFile(t, zipEntry{manifest, zeros(maxMetadata + 1)})), 64, "larger inside"},
		{"an archive of 129 MiB in it", "a.jar", claimed(t, "inner.jar", maxNested+1), 64, "larger inside"},
		{"a damaged archive in it", "a.jar", nested(t, 1, "?"+zeros(100)), 64, "invalid archive"},
		{"archives in each other", "a.jar", nested(t, 30, "?"), 64, "max zip depth"},
		{"a zip file with too many entries", "a.jar", zipFile(t, entries...), 100, "table of contents"},
		{"no zip file", "a.jar", zeros(1000), 64, "zip"},
		{"an egg with much metadata", "a.egg", zipFile(t, zipEntry{"EGG-INFO/PKG-INFO", zeros(maxMetadata + 1)}), 64, "EGG-INFO/PKG-INFO"},
		{"a long module", "node_modules/a/package.json", `{"name":"a","x":"` + zeros(maxPackageJSON) + `"}`, 64, "the most that is read"},
		{"a damaged module", "node_modules/a/package.json", `{"name":"a"`, 64, "JSON"},
		{"a deep module", "node_modules/a/package.json", strings.Repeat(`{"a":`, 1<<19), 200, "JSON"},
		{"a damaged status", "var/lib/dpkg/status", status("kept", "1", installed) + "\x00no field\n\n", 64, "malformed"},
		{"a status with a long record", "var/lib/dpkg/status", "Package: a\n" + strings.Repeat("a: "+zeros(1000)+"\n", maxDpkgRecord/1000+1) + "\n", 64, "a record has more than"},
		{"a long status", "var/lib/dpkg/status", zeros(maxDpkgStatus + 1), 100, "the most that is read"},
		{"a database of apk with a long record", "lib/apk/db/installed", strings.Repeat("a:"+zeros(1000)+"\n", maxApkRecord/1000+1), 64, "a record has more than"},
		{"a damaged database of apk", "lib/apk/db/installed", "P:a\nnonsense\n", 64, "invalid line"},
		{"a damaged database of rpm", "var/lib/rpm/rpmdb.sqlite", "SQLite format 3\x00" + zeros(5000), 64, "ParseRPMDB"},
		{"a damaged database of rpm, of old", "var/lib/rpm/Packages", zeros(5000), 64, "ParseRPMDB"},
		{"a program with too many crates", "usr/bin/a", string(crates), 64, "its list of crates"},
		{"metadata without a name", "a.dist-info/METADATA", "Metadata-Version: 2.1\n", 64, "Name"},
		{"metadata of one line", "a.dist-info/METADATA", zeros(maxMetadata), 64, "too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var r recorder
			tr := tree.New(newLayer(t,
				r.file(test.path, 0o755, test.content),
				r.file("var/lib/dpkg/status.d/good", 0o644, "Package: good\nVersion: 1\n"),
			))
			var warnings []string
			var inv *Inventory
			s := newState(t)
			memory := allocated(func() {
				var err error
				inv, err = Scan(t.Context(), tr, Options{State: s, Warn: func(w string) { warnings = append(warnings, w) }})
				if err != nil {
					t.Fatal(err)
				}
			})
			if len(warnings) != 1 || !strings.Contains(warnings[0], "/"+test.path) || !strings.Contains(warnings[0], test.want) {
				t.Errorf("warnings: %q, want one with %q", warnings, test.want)
			}
			if !strings.Contains(strings.Join(listed(inv, "deb"), ","), "good 1") {
				t.Errorf("packages: %q", listed(inv, "deb"))
			}
			if strings.Contains(test.content, "Package: kept") && len(inv.Packages()) != 2 {
				t.Errorf("what stands before the damage is lost: %q", listed(inv, "deb"))
			}
			if memory>>20 > test.memory {
				t.Errorf("%d MiB were allocated, more than %d", memory>>20, test.memory)
			}
		})
	}
}

// Archives in archives count together, those around each other and all of them.
func TestArchivesInArchivesCountTogether(t *testing.T) {
	library := zipFile(t, zipEntry{"a.txt", zeros(1000)})
	app := zipFile(t, zipEntry{"a.jar", library}, zipEntry{"b.jar", zipFile(t, zipEntry{"c.jar", library})})
	size := int64(len(library))
	for _, test := range []struct {
		name             string
		around, mayCount int64
		bomb             bool
	}{
		{"small ones", 0, 100 * size, false},
		{"large ones around", maxNestedAtOnce - size, 100 * size, true},
		{"many", 0, 2 * size, true},
	} {
		left := test.mayCount
		c := &archiveCheck{ctx: t.Context(), atOnce: test.around, altogether: &left}
		if err := c.check(strings.NewReader(app), int64(len(app))); errors.Is(err, errBomb) != test.bomb {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// endless never ends, and compresses well.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Programs that are none, or damaged, are no reason to warn: most programs list nothing.
func TestScanOfDamagedPrograms(t *testing.T) {
	var r recorder
	for _, content := range []string{"\x7fELF", "\x7fELF" + zeros(1000), "MZ" + zeros(1000), "\xca\xfe\xba\xbe" + zeros(1000), "\x7f"} {
		inv := scanned(t, tree.New(newLayer(t, r.file("usr/bin/a", 0o755, content))), newState(t))
		if n := len(inv.Packages()); n > 0 {
			t.Errorf("%.10q: %d packages", content, n)
		}
	}
}

// What is too large is not even opened; programs that would have to be copied are opened to see what they are.
func TestScanOfLargeFiles(t *testing.T) {
	var r recorder
	large := func(path, start string, size int64) layer.File {
		mode := uint16(0o644)
		if path == "usr/bin/a" {
			mode = 0o755
		}
		f := r.file(path, mode, start)
		f.Size = size
		return f
	}
	for _, test := range []struct {
		file   layer.File
		opened string
		warns  bool
	}{
		{large("node_modules/a/package.json", "{", maxPackageJSON+1), "", true},
		{large("var/lib/dpkg/status", "Package: a", maxDpkgStatus+1), "", true},
		{large("lib/apk/db/installed", "P:a", maxApkInstalled+1), "", true},
		{large("var/lib/rpm/Packages", "x", maxRPMDatabase+1), "", true},
		{large("a.dist-info/METADATA", "Name: a", maxMetadata+1), "", true},
		{large("a.egg", "PK", maxEgg+1), "", true},
		{large("a.jar", "PK", maxArchive+1), "", true},
		{large("usr/bin/a", "\x7fELF", maxSpooled+1), "usr/bin/a", true},
		{large("usr/bin/a", "#!/bin/sh\n", maxSpooled+1), "usr/bin/a", false},
	} {
		r.opened = nil
		var warnings []string
		inv, err := Scan(t.Context(), tree.New(newLayer(t, test.file)), Options{State: newState(t), Warn: func(w string) { warnings = append(warnings, w) }})
		if err != nil {
			t.Errorf("%s: %v", test.file.Path, err)
			continue
		}
		if len(inv.Packages()) > 0 || strings.Join(r.opened, ",") != test.opened || (len(warnings) > 0) != test.warns {
			t.Errorf("%s: opened %q, warnings %q, packages %+v", test.file.Path, r.opened, warnings, inv.Packages())
		}
	}
}

// A parser that crashes gives a warning.
func TestCrashOfAParser(t *testing.T) {
	var r recorder
	tr := tree.New(newLayer(t, r.file("a", 0o644, "x")))
	v, err := tr.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := v.Lookup("a")
	if err != nil {
		t.Fatal(err)
	}
	var warnings []string
	s := &scan{options: Options{State: newState(t), Warn: func(w string) { warnings = append(warnings, w) }}}
	_, err = s.extract(t.Context(), &file{path: "a", node: n, finders: []*finder{{
		limit: 1,
		extract: func(context.Context, *filesystem.ScanInput, *content) ([]*extractor.Package, error) {
			panic("index out of range")
		},
	}}})
	want := []string{"bill of materials: /a is not counted in full: its parser crashed: index out of range"}
	if diff := cmp.Diff(want, warnings); diff != "" || err != nil {
		t.Errorf("error %v, warnings:\n%s", err, diff)
	}
}

// Of many files that are broken, some are named and the others counted.
func TestWarningsAreFew(t *testing.T) {
	var r recorder
	var files []layer.File
	for i := range maxWarnings + 5 {
		files = append(files, r.file(fmt.Sprintf("%03d.jar", i), 0o644, zeros(100)))
	}
	var warnings []string
	_, err := Scan(t.Context(), tree.New(newLayer(t, files...)), Options{State: newState(t), Warn: func(w string) { warnings = append(warnings, w) }})
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != maxWarnings+1 || !strings.Contains(warnings[maxWarnings], "5 more files") {
		t.Errorf("warnings: %q", warnings)
	}
}

// A scan that is interrupted while a file is copied ends.
func TestScanEndsWhileCopying(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	l := newLayer(t, layer.File{
		Entry:   layer.Entry{Path: "usr/bin/a", Type: layer.Regular, Mode: 0o755, Size: maxSpooled},
		Content: &interrupting{cancel: func() { cancel(enough) }},
	})
	if _, err := Scan(ctx, tree.New(l), Options{State: newState(t)}); !errors.Is(err, enough) {
		t.Errorf("error %v, want the cause of the context's end", err)
	}
}

// interrupting is a program that does not end, and that ends a context when more than its beginning is read.
type interrupting struct{ cancel func() }

func (c *interrupting) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("\x7fELF"), readerFunc(func(p []byte) (int, error) {
		c.cancel()
		return len(p), nil
	}))), nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
