package sbom

import (
	"archive/zip"
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/pkg/tree"
)

type zipEntry struct{ name, content string }

// zipFile is a zip file with the given entries.
func zipFile(t *testing.T, entries ...zipEntry) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		method := zip.Deflate
		if len(e.content) < 100 { // thousands of compressors take time
			method = zip.Store
		}
		f, err := w.CreateHeader(&zip.FileHeader{Name: e.name, Method: method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// pomProperties is what Maven wrote into an archive about itself.
func pomProperties(t *testing.T, archive string) (group, artifact, version string) {
	t.Helper()
	z, err := zip.OpenReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, f := range z.File {
		if !strings.HasSuffix(f.Name, "/pom.properties") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		values := map[string]string{}
		for s := bufio.NewScanner(r); s.Scan(); {
			k, v, _ := strings.Cut(s.Text(), "=")
			values[k] = v
		}
		return values["groupId"], values["artifactId"], values["version"]
	}
	t.Fatalf("%s has no pom.properties", archive)
	return
}

// A real archive is found as what Maven wrote into it, also inside another one, as applications are
// packed.
func TestJavaAsMaven(t *testing.T) {
	dir := debs(t, "libcommons-lang3-java")
	found, err := filepath.Glob(filepath.Join(dir, "usr/share/java/*.jar"))
	if err != nil || len(found) == 0 {
		t.Fatalf("archives %q, %v", found, err)
	}
	group, artifact, version := pomProperties(t, found[0])
	want := []string{group + ":" + artifact + " " + version}
	s := newState(t)
	if diff := cmp.Diff(want, listed(scanned(t, dirTree(t, dir, s), s), "maven")); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	library, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	app := zipFile(t,
		zipEntry{"META-INF/maven/com.example/app/pom.properties", "groupId=com.example\nartifactId=app\nversion=1.0\n"},
		zipEntry{"BOOT-INF/lib/library.jar", string(library)},
	)
	var r recorder
	inv := scanned(t, tree.New(newLayer(t, r.file("app/app.jar", 0o644, app))), s)
	if diff := cmp.Diff(append([]string{"com.example:app 1.0"}, want...), listed(inv, "maven")); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}
