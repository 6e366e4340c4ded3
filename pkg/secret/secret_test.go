package secret_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/secret"
)

func TestParse(t *testing.T) {
	t.Setenv("IN_ENV", "x")
	for value, want := range map[string]secret.Spec{
		"id=a,src=/f":            {ID: "a", File: "/f"},
		"id=a,source=/f":         {ID: "a", File: "/f"},
		"type=file,id=a,src=b":   {ID: "a", File: "b"},
		"id=a,env=B":             {ID: "a", Env: "B"},
		"id=a,type=env,src=B":    {ID: "a", Env: "B"},
		"id=a,type=env":          {ID: "a", Env: "a"},
		"id=IN_ENV":              {ID: "IN_ENV", Env: "IN_ENV"},
		"id=IN_ENV,type=file":    {ID: "IN_ENV", File: "IN_ENV"},
		"id=not_in_env":          {ID: "not_in_env", File: "not_in_env"},
		`id=a,"src=/with,comma"`: {ID: "a", File: "/with,comma"},
	} {
		if got, err := secret.Parse(value); err != nil || got != want {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", value, got, err, want)
		}
	}
	for value, want := range map[string]string{
		"src=/f":            "no id",
		"id=a,src=/f,env=B": "exclude each other",
		"id=a,type=socket":  "neither file nor env",
		"id=a,sorce=/f":     `unknown key "sorce"`,
		"a":                 "key=value",
	} {
		if _, err := secret.Parse(value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q): %v, want an error with %q", value, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	t.Setenv("TOKEN", "from env")
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("from file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := secret.Load([]secret.Spec{{ID: "e", Env: "TOKEN"}, {ID: "f", File: file}})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{"e": "from env", "f": "from file\n"} {
		if got, err := s.Secret(t.Context(), id); err != nil || string(got) != want {
			t.Errorf("%s = %q, %v", id, got, err)
		}
	}
	if _, err := s.Secret(t.Context(), "other"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a secret that was not given: %v", err)
	}
	if len(s.Values()) != 2 {
		t.Errorf("%d values, want 2", len(s.Values()))
	}
}

func TestLoadErrors(t *testing.T) {
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, bytes.Repeat([]byte("x"), secret.MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, specs := range map[string][]secret.Spec{
		"NOT_SET is not set": {{ID: "a", Env: "NOT_SET"}},
		"no such file":       {{ID: "a", File: "/does/not/exist"}},
		"limit":              {{ID: "a", File: big}},
		"given twice":        {{ID: "a", Env: "PATH"}, {ID: "a", Env: "PATH"}},
	} {
		if _, err := secret.Load(specs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

// A directory looks like a Secret that the kubelet has mounted.
func TestDir(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "..2026_01"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "..2026_01/npmrc"), []byte("token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"..data": "..2026_01", "npmrc": "..data/npmrc", "folder": "..data"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	specs, err := secret.Dir(dir)
	if want := []secret.Spec{{ID: "npmrc", File: filepath.Join(dir, "npmrc")}}; err != nil || !slices.Equal(specs, want) {
		t.Fatalf("got %+v, %v; want %+v", specs, err, want)
	}
	if err := os.Symlink("missing", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.Dir(dir); err == nil {
		t.Error("a dangling link: no error")
	}
	if _, err := secret.Dir(filepath.Join(dir, "missing")); err == nil {
		t.Error("a directory that is missing: no error")
	}
}
