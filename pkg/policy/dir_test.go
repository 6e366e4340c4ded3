package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/policy"
)

func TestFile(t *testing.T) {
	dirOf := func(names ...string) string {
		dir := t.TempDir()
		for _, name := range names {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, test := range []struct {
		title, name, dir string
		want             string // DIR stands for dir
		err              string
	}{
		{"nothing", "", "", "", ""},
		{"a file", "rules.json", "", "rules.json", ""},
		{"a file in a directory", "rules.json", dirOf(), "DIR/rules.json", ""},
		{"a file elsewhere", "/rules.json", dirOf("policy.json"), "/rules.json", ""},
		{"the usual name", "", dirOf("..data", "policy.json", "zzz"), "DIR/policy.json", ""},
		{"an optional ConfigMap that is missing", "", dirOf("..data"), "", ""},
		{"another name", "", dirOf("rules.json"), "", "has no policy.json"},
		{"no directory", "", filepath.Join(dirOf(), "missing"), "", "no such file"},
	} {
		t.Run(test.title, func(t *testing.T) {
			got, err := policy.File(test.name, test.dir)
			switch {
			case test.err != "":
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("the error is %v, want %q", err, test.err)
				}
			case err != nil || got != strings.Replace(test.want, "DIR", test.dir, 1):
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}
