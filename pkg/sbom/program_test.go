package sbom

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// hostFile is a file of the tree with the content of one on this machine.
func hostFile(path string, c layer.Content, size int64) layer.File {
	return layer.File{
		Entry:   layer.Entry{Path: path, Type: layer.Regular, Mode: 0o755, Size: size},
		Content: c,
	}
}

// programTrees scans a program of this machine, in layers of all kinds.
func programTrees(t *testing.T, host string) map[string]func(*testing.T) *Inventory {
	t.Helper()
	info, err := os.Stat(host)
	if err != nil {
		t.Fatal(err)
	}
	l := newLayer(t, hostFile("usr/bin/program", streamed(host), info.Size()))
	s := newState(t)
	written, err := layer.Write(t.Context(), l, s, layer.Form{}.Compression)
	if err != nil {
		t.Fatal(err)
	}
	scan := func(l layer.Layer) func(*testing.T) *Inventory {
		return func(t *testing.T) *Inventory { return scanned(t, tree.New(l), s) }
	}
	return map[string]func(*testing.T) *Inventory{
		"spooled":        scan(l),
		"in a tar":       scan(layer.FromBlob(written.Blob(), s)),
		"in a directory": scan(newLayer(t, hostFile("usr/bin/program", onHost(host), info.Size()))),
	}
}

// versionModules is what "go version -m" says that a program is made of.
func versionModules(t *testing.T, program string) []string {
	t.Helper()
	var out []string
	for i, line := range output(t, "go", "version", "-m", program) {
		fields := append(strings.Fields(line), "")
		switch {
		case i == 0:
			out = append(out, "stdlib "+strings.TrimPrefix(fields[1], "go"))
		case fields[0] == "mod" || fields[0] == "dep":
			out = append(out, strings.TrimSpace(fields[1]+" "+strings.TrimSuffix(fields[2], "(devel)")))
		case fields[0] == "=>":
			name, version := fields[1], fields[2]
			if version == "(devel)" {
				name, version = strings.Fields(out[len(out)-1])[0], ""
			}
			out[len(out)-1] = strings.TrimSpace(name + " " + version)
		}
	}
	slices.Sort(out)
	return out
}

// Of a Go program every module is found that "go version -m" lists, and no other.
func TestGoAsGoVersion(t *testing.T) {
	program := filepath.Join(t.TempDir(), "demo")
	output(t, "go", "build", "-o", program, "github.com/slipway-build/slipway/internal/demo")
	want := versionModules(t, program)
	if len(want) < 10 {
		t.Fatalf("go version lists only %d modules", len(want))
	}
	for name, scan := range programTrees(t, program) {
		t.Run(name, func(t *testing.T) {
			got := listed(scan(t), "golang")
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("modules (-go version +scan):\n%s", diff)
			}
		})
	}
}

// A module that a directory replaces is there by its own name, without a version that it is not.
func TestGoWithReplacedModule(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"go.mod":       "module example.com/main\n\ngo 1.26\n\nrequire example.com/Lib v1.2.3\n\nreplace example.com/Lib => ./lib\n",
		"main.go":      "package main\n\nimport \"example.com/Lib\"\n\nfunc main() { lib.Do() }\n",
		"lib/go.mod":   "module example.com/Lib\n\ngo 1.26\n",
		"lib/lib.go":   "package lib\n\nfunc Do() {}\n",
		"lib/other.go": "package lib\n",
	} {
		write(t, filepath.Join(dir, name), content)
	}
	program := filepath.Join(dir, "program")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	build.Dir, build.Env = dir, append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOTOOLCHAIN=local", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := versionModules(t, program)
	for name, scan := range programTrees(t, program) {
		t.Run(name, func(t *testing.T) {
			got := listed(scan(t), "golang")
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" || !slices.Contains(got, "example.com/Lib") {
				t.Errorf("modules (-go version +scan):\n%s", diff)
			}
		})
	}
}

// rustProgram is a program with a list of crates as cargo-auditable records it: the section .dep-v0,
// put into a program of this machine.
func rustProgram(t *testing.T, list []byte) string {
	t.Helper()
	objcopy := tool(t, "objcopy")
	dir := t.TempDir()
	section := filepath.Join(dir, "section")
	write(t, section, string(list))
	program := filepath.Join(dir, "program")
	output(t, objcopy, "--add-section", ".dep-v0="+section, "/bin/true", program)
	return program
}

func deflated(t *testing.T, data io.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := io.Copy(w, data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRust(t *testing.T) {
	type crate struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Kind    string `json:"kind,omitempty"`
	}
	list, err := json.Marshal(map[string]any{"packages": []crate{
		{Name: "app", Version: "0.1.0"}, {Name: "serde", Version: "1.0.200"}, {Name: "cc", Version: "1.0.0", Kind: "build"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	for name, scan := range programTrees(t, rustProgram(t, deflated(t, bytes.NewReader(list)))) {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff([]string{"app 0.1.0", "serde 1.0.200"}, listed(scan(t), "cargo")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
