package provenance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bktypes "github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/layer"
)

func TestRedact(t *testing.T) {
	for in, want := range map[string]string{
		"https://user:word@example.com/r.git#v1": "https://xxxxx:xxxxx@example.com/r.git#v1",
		"https://token@example.com/f":            "https://xxxxx@example.com/f",
		"https://example.com/f?signature=word":   "https://example.com/f?xxxxx",
		"https://example.com/f":                  "https://example.com/f",
		"git@example.com:r.git":                  "git@example.com:r.git",
		"local://context":                        "local://context",
	} {
		if got := redact(in); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}

// No credentials of sources get into the build graph that mode "max" tells.
func TestGraphWithoutCredentials(t *testing.T) {
	steps := []bktypes.BuildStep{
		{Op: &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{
			Identifier: "https://user:word@example.com/f?signature=word", Attrs: map[string]string{"git.fullurl": "https://user:word@example.com/r.git"},
		}}}},
		{Op: &pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{}}}},
	}
	withoutCredentials(steps)
	text, err := json.Marshal(steps)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "word") {
		t.Errorf("%s", text)
	}
}

func TestReadEnv(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string // as JSON
		err   string
	}{
		"none":             {nil, `{}`, ""},
		"several":          {map[string]string{"a.json": `{"cluster":"x"}`, "b.json": `{"n":[1,2]}`, "README": "not one"}, `{"cluster":"x","n":[1,2]}`, ""},
		"as in ConfigMaps": {map[string]string{"..data/a.json": `{"hidden":1}`, "a.json": `{"a":1}`}, `{"a":1}`, ""},
		"twice":            {map[string]string{"a.json": `{"x":1}`, "b.json": `{"x":1}`}, "", "another file has x"},
		"reserved":         {map[string]string{"a.json": `{"buildConfig":1}`}, "", "told by the build itself"},
		"no JSON":          {map[string]string{"a.json": `{`}, "", "a.json"},
		"no object":        {map[string]string{"a.json": `[]`}, "", "a.json"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for f, content := range c.files {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, f), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			env, err := ReadEnv(dir)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v", err)
				}
				return
			}
			got, marshalErr := json.Marshal(env)
			if err != nil || marshalErr != nil || string(got) != c.want {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
	if _, err := ReadEnv(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

// A context that is an archive is a dependency, and the configuration's source; as a local source it is not listed.
func TestArchiveAsContext(t *testing.T) {
	sum := layer.Sum{1, 2}
	f := &Facts{
		Files: []File{{URL: "https://user:word@example.com/c.tar?signed=1", Sum: sum, Locals: []string{"context"}}},
		Args:  map[string]string{"context": "https://user:word@example.com/c.tar?signed=1", "build-arg:A": "1", "platform": "linux/amd64"},
	}
	for mode, request := range map[bool]string{true: `"args":{"build-arg:A":"1"}`, false: `"completeness":{"request":false`} {
		p, err := New(t.Context(), f, &Options{Max: mode, Version: versionSLSA1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(p.Predicate), "buildkit_", "")
		for _, want := range []string{
			fmt.Sprintf(`"configSource":{"uri":"https://xxxxx:xxxxx@example.com/c.tar?xxxxx","digest":{"sha256":"%x"}}`, sum), request,
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s is missing in %s", want, text)
			}
		}
		if len(p.Dependencies) != 1 || p.Dependencies[0].Digest["sha256"] != fmt.Sprintf("%x", sum) || strings.Contains(text, "word") {
			t.Errorf("dependencies %v of %s", p.Dependencies, text)
		}
	}
}
