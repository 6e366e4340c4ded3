package sbom

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// debian is a minimal Debian root filesystem.
func debian(t testing.TB, s *state.Dir) *tree.Tree {
	t.Helper()
	tool(t, "mmdebstrap")
	if os.Geteuid() != 0 {
		t.Skip("mmdebstrap makes a root filesystem as root only")
	}
	made, err := testbase.Debian(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(made)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l, err := layer.FromTar(t.Context(), f, s)
	if err != nil {
		t.Fatal(err)
	}
	return tree.New(l)
}

// adminDir is a dpkg database with the status file of a tree.
func adminDir(t testing.TB, tr *tree.Tree) string {
	t.Helper()
	v, err := tr.View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.Open(t.Context(), "var/lib/dpkg/status")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	status, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "status"), status, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Of a Debian root filesystem every package is found that dpkg says is installed, with its version
// and architecture, and no other.
func TestDebianAsDpkgQuery(t *testing.T) {
	query := tool(t, "dpkg-query")
	s := newState(t)
	tr := debian(t, s)
	var want []string
	for _, line := range output(t, query, "--admindir="+adminDir(t, tr), "-W",
		"-f", `${db:Status-Status} ${Package} ${Version} ${Architecture}\n`) {
		if p, ok := strings.CutPrefix(line, "installed "); ok {
			want = append(want, p)
		}
	}
	if len(want) < 50 {
		t.Fatalf("dpkg-query lists only %d packages", len(want))
	}
	inv := scanned(t, tr, s)
	var got []string
	for _, p := range inv.Packages() {
		if p.Type != "deb" {
			t.Errorf("%s is no package of Debian's, and there should be no other", p.PURL)
			continue
		}
		_, qualifiers, _ := strings.Cut(p.PURL, "?")
		arch := ""
		for q := range strings.SplitSeq(qualifiers, "&") {
			if a, ok := strings.CutPrefix(q, "arch="); ok {
				arch = a
			}
		}
		if !strings.HasPrefix(p.PURL, "pkg:deb/debian/") || !strings.Contains(qualifiers, "distro="+testbase.DebianSuite) {
			t.Errorf("package URL of %s: %s", p.Name, p.PURL)
		}
		if p.Supplier == "" {
			t.Errorf("%s has no supplier", p.Name)
		}
		got = append(got, p.Name+" "+p.Version+" "+arch)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages (-dpkg-query +scan):\n%s", diff)
	}
	if d := inv.Distribution(); d.ID != "debian" || d.VersionID != "12" {
		t.Errorf("distribution: %+v", d)
	}
}
