package bundle

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

const top = "../.."

// The repository has what would be generated from it.
func TestGenerated(t *testing.T) {
	files, err := Generate(os.DirFS(top))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		committed, err := os.ReadFile(filepath.Join(top, filepath.FromSlash(f.Path)))
		if err != nil {
			t.Error(err)
			continue
		}
		if line := firstDifference(committed, f.Data); line != 0 {
			t.Errorf("%s:%d is not what \"make generate\" writes", f.Path, line)
		}
	}
}

// firstDifference gives the number of the first line that differs, 0 if none does.
func firstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return 0
	}
	as, bs := bytes.SplitAfter(a, []byte("\n")), bytes.SplitAfter(b, []byte("\n"))
	for i := range min(len(as), len(bs)) {
		if !bytes.Equal(as[i], bs[i]) {
			return i + 1
		}
	}
	return min(len(as), len(bs)) + 1
}

// repositoryOf is the part of the repository that Generate reads, to be changed by a test.
func repositoryOf(t *testing.T) fstest.MapFS {
	t.Helper()
	copied := fstest.MapFS{}
	dirs := []string{"argo"}
	for _, kind := range Kinds() {
		dirs = append(dirs, kind.Dir())
	}
	for _, dir := range dirs {
		root := filepath.Join(top, dir)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(top, path)
			copied[filepath.ToSlash(name)] = &fstest.MapFile{Data: data}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return copied
}

// A change of the Task arrives at everything that follows from it, at once.
func TestGenerateFollowsTheTask(t *testing.T) {
	repository := repositoryOf(t)
	before, err := Generate(repository)
	if err != nil {
		t.Fatal(err)
	}
	task := repository[taskFile]
	task.Data = bytes.Replace(task.Data, []byte("Stage to build in place of the last one."), []byte("THE STAGE."), 1)
	after, err := Generate(repository)
	if err != nil {
		t.Fatal(err)
	}
	changed := map[string]bool{}
	for i, f := range after {
		if f.Path != before[i].Path {
			t.Fatalf("%s became %s", before[i].Path, f.Path)
		}
		changed[f.Path] = !bytes.Equal(f.Data, before[i].Data)
		if !strings.HasPrefix(f.Path, "argo/") && strings.HasPrefix(filepath.Base(filepath.Dir(f.Path)), "slipway") && !strings.Contains(f.Path, "index") && !strings.Contains(f.Path, "cache-warm") &&
			!bytes.Contains(f.Data, []byte("THE STAGE.")) {
			t.Errorf("%s does not have the new text", f.Path)
		}
	}
	for file, want := range map[string]bool{
		openShiftFile: true, restrictedFile: true, stepFile: true, CatalogFile: true, "task/slipway/README.md": true,
		"task/slipway-openshift/README.md": true, "task/slipway-restricted/README.md": true, "stepaction/slipway/README.md": true,
		"task/slipway-index/README.md": false, "task/slipway-cache-warm/README.md": false, "pipelines/multi-arch/README.md": false,
	} {
		if got, there := changed[file]; got != want || !there {
			t.Errorf("%s changed: %t, want %t", file, got, want)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(fstest.MapFS)
		want   string
	}{
		"no Task": {
			func(r fstest.MapFS) { delete(r, taskFile) },
			taskFile,
		},
		"two steps": {
			func(r fstest.MapFS) {
				r[taskFile].Data = append(r[taskFile].Data, "    - name: second\n      image: x\n"...)
			},
			"2 steps, not one",
		},
		"no parameter to give another default": {
			func(r fstest.MapFS) {
				r[taskFile].Data = bytes.ReplaceAll(r[taskFile].Data, []byte("ISOLATION"), []byte("APARTNESS"))
			},
			"no parameter ISOLATION",
		},
		"a definition in a directory of another name": {
			func(r fstest.MapFS) {
				r["task/other/other.yaml"] = r["task/slipway-index/slipway-index.yaml"]
			},
			`the Task "slipway-index" belongs into task/slipway-index/slipway-index.yaml`,
		},
		"a kind that no catalog has": {
			func(r fstest.MapFS) {
				f := r["task/slipway-index/slipway-index.yaml"]
				f.Data = bytes.Replace(f.Data, []byte("kind: Task"), []byte("kind: ClusterTask"), 1)
			},
			`"ClusterTask"`,
		},
		"no version": {
			func(r fstest.MapFS) {
				f := r["pipelines/multi-arch/multi-arch.yaml"]
				f.Data = bytes.Replace(f.Data, []byte("app.kubernetes.io/version"), []byte("version"), 1)
			},
			"app.kubernetes.io/version",
		},
		"no README": {
			func(r fstest.MapFS) { delete(r, "task/slipway-index/README.md") },
			"task/slipway-index/README.md",
		},
		"a README without a table": {
			func(r fstest.MapFS) {
				f := r["task/slipway-index/README.md"]
				f.Data = bytes.Replace(f.Data, []byte("<!-- generated: results -->"), nil, 1)
			},
			"no generated section results",
		},
		"a section that nobody writes": {
			func(r fstest.MapFS) {
				f := r["task/slipway-index/README.md"]
				f.Data = append(f.Data, "<!-- generated: weather -->\n<!-- end -->\n"...)
			},
			"weather",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			repository := repositoryOf(t)
			test.change(repository)
			if _, err := Generate(repository); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// Definitions, samples and examples of one revision are of one version.
func TestOneVersion(t *testing.T) {
	definitions, err := Load(os.DirFS(top))
	if err != nil {
		t.Fatal(err)
	}
	version := definitions[0].Version
	for _, d := range definitions {
		if d.Version != version {
			t.Errorf("%s is version %s, %s %s", d.Path, d.Version, definitions[0].Path, version)
		}
	}
	ours := regexp.MustCompile(`value: https://github\.com/slipway-build/slipway\n\s*- name: revision\n\s*value: (\S+)|ghcr\.io/slipway-build/slipway:(\S+)`)
	found := 0
	for _, root := range []string{"task", "stepaction", "pipelines", "examples"} {
		err := filepath.WalkDir(filepath.Join(top, root), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".yaml" {
				return err
			}
			data, err := os.ReadFile(path)
			for _, m := range ours.FindAllStringSubmatch(string(data), -1) {
				found++
				if got := m[1] + m[2]; got != "v"+version {
					t.Errorf("%s refers to version %s, not v%s", path, got, version)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found < 8 {
		t.Errorf("found only %d references to versions", found)
	}
}
