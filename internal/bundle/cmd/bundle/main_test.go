package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const top = "../../../.."

// clone copies what the command reads of the repository.
func clone(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"task", "stepaction", "pipelines", "argo"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(top, name))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func call(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(t.Context(), args, &out)
	return out.String(), err
}

func TestGenerateWritesWhatIsNotThere(t *testing.T) {
	dir := clone(t)
	readme := filepath.Join(dir, "task", "slipway", "README.md")
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(text, []byte("| parameter |"), []byte("| nonsense |"), 1)
	if err := os.WriteFile(readme, changed, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "stepaction", "slipway", "slipway.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"wrote catalog.yaml\nwrote stepaction/slipway/slipway.yaml\nwrote task/slipway/README.md\n",
		"", // the second time there is nothing to do
	} {
		out, err := call(t, "-C", dir, "generate")
		if err != nil {
			t.Fatal(err)
		}
		if out != want {
			t.Errorf("said %q, want %q", out, want)
		}
	}
	if now, err := os.ReadFile(readme); err != nil || !bytes.Equal(now, text) {
		t.Errorf("the README is not as it was: %v", err)
	}
}

func TestReleaseAndImage(t *testing.T) {
	dir := clone(t)
	out := filepath.Join(t.TempDir(), "dist")
	if _, err := call(t, "-C", dir, "release", out); err == nil {
		t.Error("a release without a catalog")
	}
	for _, args := range [][]string{{"generate"}, {"release", out}, {"image", filepath.Join(out, "bundle")}} {
		if _, err := call(t, append([]string{"-C", dir}, args...)...); err != nil {
			t.Fatalf("%s: %v", args, err)
		}
	}
	for _, file := range []string{"resources.tar.gz", "catalog.yaml", "SHA256SUMS", "bundle/index.json", "bundle/oci-layout"} {
		if _, err := os.Stat(filepath.Join(out, file)); err != nil {
			t.Error(err)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{}, {"generate", "x"}, {"release"}, {"image"}, {"image", "a", "b", "c"}, {"sing"}} {
		if _, err := call(t, args...); err == nil || !strings.Contains(err.Error(), "usage") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
