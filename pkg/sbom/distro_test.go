package sbom

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/pkg/tree"
)

// The database of Alpine's apk: names, versions, licences, the package that each was built of.
func TestApk(t *testing.T) {
	data, err := os.ReadFile("testdata/apk-installed")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"lib/apk/db/installed", "usr/lib/apk/db/installed"} {
		var r recorder
		inv := scanned(t, tree.New(newLayer(t,
			r.file(path, 0o644, string(data)),
			r.file("etc/os-release", 0o644, "ID=alpine\nVERSION_ID=3.20.3\n"),
		)), newState(t))
		var got []string
		for _, p := range inv.Packages() {
			got = append(got, p.PURL+" | "+p.License+" | "+p.Supplier)
		}
		want := []string{
			"pkg:apk/alpine/busybox@1.36.1-r29?arch=x86_64&distro=3.20.3&origin=busybox | GPL-2.0-only | Example Maintainer <maintainer@example.org>",
			"pkg:apk/alpine/libcrypto3@3.3.2-r0?arch=x86_64&distro=3.20.3&origin=openssl | Apache-2.0 | Example Maintainer <maintainer@example.org>",
			"pkg:apk/alpine/scanelf@1.3.7-r2?arch=x86_64&distro=3.20.3&origin=pax-utils | GPL-2.0-only AND MIT | Example Maintainer <maintainer@example.org>",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// rpmRoot is a root filesystem with two packages in rpm's database.
func rpmRoot(t *testing.T) (root string, query func() []string) {
	t.Helper()
	rpm, rpmbuild := tool(t, "rpm"), tool(t, "rpmbuild")
	dir := t.TempDir()
	root = filepath.Join(dir, "root")
	write(t, filepath.Join(root, "etc/os-release"), "ID=fedora\nVERSION_ID=41\n")
	run := func(args ...string) []string {
		return output(t, rpm, append([]string{"--root", root, "--dbpath", "/var/lib/rpm"}, args...)...)
	}
	run("--initdb")
	for _, header := range []string{
		"Name: alpha\nEpoch: 1\nVersion: 1.2\nRelease: 3\nLicense: MIT\nVendor: Example Project\n",
		"Name: beta\nVersion: 2.0~rc1\nRelease: 1.fc41\nLicense: GPL-2.0-or-later AND BSD-3-Clause\n",
	} {
		spec := filepath.Join(dir, "package.spec")
		write(t, spec, header+"Summary: a test\nBuildArch: noarch\n%description\na test\n%files\n")
		output(t, rpmbuild, "--quiet", "-bb", "--define", "_topdir "+dir, "--define", "_rpmdir "+filepath.Join(dir, "out"), spec)
	}
	files, err := filepath.Glob(filepath.Join(dir, "out/noarch/*.rpm"))
	if err != nil || len(files) != 2 {
		t.Fatalf("rpmbuild made %q, %v", files, err)
	}
	run(append([]string{"-i", "--justdb", "--nodeps", "--noscripts"}, files...)...)
	return root, func() []string {
		return run("-qa", "--qf", `%{NAME} %{VERSION}-%{RELEASE} | %{LICENSE} | %{VENDOR} | %{EPOCH} %{ARCH}\n`)
	}
}

// asRPM spells the packages as the query of rpmRoot does.
func asRPM(inv *Inventory) []string {
	var out []string
	for _, p := range inv.Packages() {
		_, qualifiers, _ := strings.Cut(p.PURL, "?")
		fields := map[string]string{"epoch": "(none)"}
		for q := range strings.SplitSeq(qualifiers, "&") {
			k, v, _ := strings.Cut(q, "=")
			fields[k] = v
		}
		vendor := p.Supplier
		if vendor == "" {
			vendor = "(none)"
		}
		out = append(out, p.Name+" "+p.Version+" | "+p.License+" | "+vendor+" | "+fields["epoch"]+" "+fields["arch"])
	}
	slices.Sort(out)
	return out
}

// Of rpm's database every package is found that "rpm -qa" lists, and no other; and nothing of it is left
// in the state directory.
func TestRPMAsRPMQuery(t *testing.T) {
	root, query := rpmRoot(t)
	want := query()
	slices.Sort(want)
	s := newState(t)
	inv := scanned(t, dirTree(t, root, s), s)
	if diff := cmp.Diff(want, asRPM(inv)); diff != "" || len(want) != 2 {
		t.Errorf("packages (-rpm +scan):\n%s", diff)
	}
	if u := inv.Packages()[0].PURL; !strings.HasPrefix(u, "pkg:rpm/fedora/alpha@1.2-3?") || !strings.Contains(u, "distro=fedora-41") {
		t.Errorf("package URL %s", u)
	}
	left, err := filepath.Glob(filepath.Join(s.Path(), "builds/*/rpm-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// What rpm has not written into its database yet, but into the journal beside it, counts.
func TestRPMWithJournal(t *testing.T) {
	root, query := rpmRoot(t)
	db, err := sql.Open("sqlite", filepath.Join(root, "var/lib/rpm/rpmdb.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, statement := range []string{
		"PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0",
		"DELETE FROM Packages WHERE hnum = (SELECT max(hnum) FROM Packages)",
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	want := query()
	if len(want) != 1 {
		t.Fatalf("rpm lists %q", want)
	}
	s := newState(t)
	if diff := cmp.Diff(want, asRPM(scanned(t, dirTree(t, root, s), s))); diff != "" {
		t.Errorf("packages (-rpm +scan):\n%s", diff)
	}
}

// Of dpkg's status only what is installed counts, wherever Debian's images have it.
func TestDpkgStatus(t *testing.T) {
	for _, test := range []struct {
		path, content string
		want          []string
	}{
		{"var/lib/dpkg/status", status("a", "1", installed) + status("b", "1", "install ok half-configured") + status("c", "1", "deinstall ok config-files"), []string{"a 1"}},
		{"var/lib/dpkg/status", status("a", "1", "hold ok installed"), []string{"a 1"}},
		{"var/lib/dpkg/status.d/base", "Package: base\nVersion: 12\nArchitecture: amd64\n", []string{"base 12"}},
		{"var/lib/dpkg/status-old", status("a", "1", installed), nil},
		{"srv/var/lib/dpkg/status", status("a", "1", installed), nil},
	} {
		var r recorder
		inv := scanned(t, tree.New(newLayer(t, r.file(test.path, 0o644, test.content))), newState(t))
		if diff := cmp.Diff(test.want, listed(inv, "deb")); diff != "" {
			t.Errorf("%s %q:\n%s", test.path, test.content, diff)
		}
	}
}

// A damaged os-release file costs what is damaged.
func TestOSRelease(t *testing.T) {
	for content, want := range map[string]Distribution{
		"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n": {"debian", "12", "Debian 12"},
		"ID=debian\nVERSION_ID=\"\n  VERSION_ID = \"\nX=\"":         {ID: "debian"},
		"\x00":                             {},
		"ID=" + strings.Repeat("x", 1<<20): {},
	} {
		var r recorder
		inv := scanned(t, tree.New(newLayer(t,
			r.file("usr/lib/os-release", 0o644, content), link("etc/os-release", "../usr/lib/os-release"),
			r.file("var/lib/dpkg/status", 0o644, status("a", "1", installed)),
		)), newState(t))
		if got := inv.Distribution(); got != want || len(inv.Packages()) != 1 {
			t.Errorf("%.60q: %+v and %d packages, want %+v", content, got, len(inv.Packages()), want)
		}
	}
}
