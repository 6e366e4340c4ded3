package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestExpandLists(t *testing.T) {
	file := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(file, []byte(`["A=1", "B=2,3"]`), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := newApp(nil, nil, nil).Command("build")
	for _, c := range []struct {
		name      string
		args      []string
		want      []string
		wantError string
	}{
		{"none", []string{"-t", "a", "."}, []string{"-t", "a", "."}, ""},
		{
			"several", []string{"-t", "a", "--build-args", "A=1", "B=x y", "--labels", "--tags", "b"},
			[]string{"-t", "a", "--build-arg=A=1", "--build-arg=B=x y", "--tag=b"}, "",
		},
		{"commas stay", []string{"--build-args", "A=1,2"}, []string{"--build-arg=A=1,2"}, ""},
		{"empty elements", []string{"--tags", "", "b", ""}, []string{"--tag=b"}, ""},
		{"JSON", []string{`--build-args=["A=1","B=\"2\""]`, "-t", "a"}, []string{"--build-arg=A=1", `--build-arg=B="2"`, "-t", "a"}, ""},
		{"no JSON", []string{"--build-args=", "--tags=[]"}, nil, ""},
		{"file", []string{"--build-args=@" + file}, []string{"--build-arg=A=1", "--build-arg=B=2,3"}, ""},
		{"extra flags", []string{"--tags", "b", "--extra-args", "--no-cache", "--target", "x"}, []string{"--tag=b", "--no-cache", "--target", "x"}, ""},
		{"extra flags in JSON", []string{`--extra-args=["--no-cache"]`}, []string{"--no-cache"}, ""},
		{"what follows -- is not looked at", []string{"--", "--tags"}, []string{"--", "--tags"}, ""},
		{"unknown to the command", []string{"--images", "a"}, []string{"--images", "a"}, ""},

		{"a flag as element", []string{"--build-args", "A=1", "--output=local"}, nil, `--build-args has the element "--output=local", which looks like a flag`},
		{"a short flag as element", []string{"--labels", "-o"}, nil, "looks like a flag"},
		{"the end of flags as element", []string{"--labels", "--", "x"}, nil, "looks like a flag"},
		{"a flag in JSON", []string{`--build-args=["--output=local"]`}, nil, "looks like a flag"},
		{
			"a list as element", []string{"--build-args", "--extra-args", "--output=local", "--labels", "--extra-args", "--no-cache"},
			nil, "--extra-args is given twice",
		},
		{"a list in JSON as element", []string{"--build-args", "--extra-args=[\"--push\"]", "--extra-args"}, nil, "--extra-args is given twice"},
		{"not JSON", []string{"--tags=a"}, nil, "--tags: not a JSON array of strings"},
		{"JSON of other things", []string{"--tags=[1]"}, nil, "--tags: not a JSON array of strings"},
		{"no file", []string{"--tags=@/nonexistent"}, nil, "--tags: open /nonexistent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := expandLists(cmd, c.args)
			if c.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantError) {
					t.Errorf("error is %v, want %q", err, c.wantError)
				}
				return
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestExpandImages(t *testing.T) {
	cmd := newApp(nil, nil, nil).Command("index")
	for _, args := range [][]string{{"--images", "a@sha256:1", "b"}, {`--images=["a@sha256:1","b"]`}} {
		got, err := expandLists(cmd, args)
		if want := []string{"--image=a@sha256:1", "--image=b"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%q became %q, %v; want %q", args, got, err, want)
		}
	}
	for _, args := range [][]string{{"--images", "a", ""}, {`--images=["a",""]`}} {
		if _, err := expandLists(cmd, args); err == nil || !strings.Contains(err.Error(), "empty element") {
			t.Errorf("%q: error is %v; an empty reference is a leg that failed", args, err)
		}
	}
}

func TestListFlagsAreKnown(t *testing.T) {
	app := newApp(nil, nil, nil)
	for name := range listFlags() {
		_, build := knownList(app.Command("build"), "--"+name)
		_, index := knownList(app.Command("index"), "--"+name)
		_, sign := knownList(app.Command("sign"), "--"+name)
		if !build && !index && !sign {
			t.Errorf("--%s stands for no flag", name)
		}
	}
}
