package bundle

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestWrap(t *testing.T) {
	tests := map[string]struct {
		line string
		want []string
	}{
		"short":                       {"a b", []string{"a b"}},
		"exactly as wide":             {"aaa bbbbbb", []string{"aaa bbbbbb"}},
		"at the last space that fits": {"aaa bbb ccc ddd", []string{"aaa bbb", "ccc ddd"}},
		"a word that is too long":     {"aaaaaaaaaaaaaa bb", []string{"aaaaaaaaaaaaaa", "bb"}},
		"one such word alone":         {"aaaaaaaaaaaaaa", []string{"aaaaaaaaaaaaaa"}},
		"empty":                       {"", []string{""}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := wrap(test.line, 10); strings.Join(got, "|") != strings.Join(test.want, "|") {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// What is written is what was read, however long its lines are, with the comments of the document.
func TestEncodeKeepsContent(t *testing.T) {
	words := strings.TrimSpace(strings.Repeat("some words of a text ", 20))
	source := "# about the file\n" +
		"first: 1 # one\n" +
		"# about the list\n" +
		"list:\n" +
		"  - text: >-\n      " + words + "\n\n      " + words + "\n" +
		"    flow: [a, b]\n" +
		"  - >-\n    " + words + "\n" +
		"  # about the last\n" +
		"  - literal: |\n      " + words + "\n      second line\n" +
		"after: \"0\"\n"
	m, err := parseMapping([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	out, err := encode(m, "new\nhead")
	if err != nil {
		t.Fatal(err)
	}
	var before, after any
	if err := yaml.Unmarshal([]byte(source), &before); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(out, &after); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	a, _ := yaml.Marshal(before)
	b, _ := yaml.Marshal(after)
	if string(a) != string(b) {
		t.Errorf("read\n%s\nwrote\n%s", a, b)
	}
	if !strings.HasPrefix(string(out), "# new\n# head\nfirst: 1 # one\n# about the list\n") || !strings.Contains(string(out), "\n  # about the last\n") {
		t.Errorf("comments are lost:\n%s", out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "some words") && len(line) > width+1 && !strings.Contains(string(out), "literal: |\n"+line) {
			t.Errorf("%d bytes: %s", len(line), line)
		}
	}
	if n := strings.Count(string(out), "\n"); n < 20 {
		t.Errorf("folded text is not wrapped:\n%s", out)
	}
}

// What only looks like a folded scalar must not be changed by wrapping.
func TestEncodeRefusesToWrapLiterals(t *testing.T) {
	m, err := parseMapping([]byte("literal: |\n  key: >-\n    " + strings.Repeat("words ", 40) + "end\n"))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := encode(m, "head"); err == nil {
		t.Errorf("got\n%s", out)
	}
}

func TestToStepAction(t *testing.T) {
	for in, want := range map[string]string{
		"--result=IMAGES=$(results.IMAGES.path)":                                   "--result=IMAGES=$(step.results.IMAGES.path)",
		"--context=$(workspaces.source.path)":                                      "--context=$(params.source-path)",
		"looked for in the workspace source first, then in the workspace secrets.": "looked for in source-path first, then in secrets-path.",
		"$(params.TAGS[*])": "$(params.TAGS[*])",
		"no workspace here": "no workspace here",
	} {
		if got := toStepAction(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	got := table([][]string{{"a", "b"}, {"x|y", "several\n  lines "}})
	if want := "| a | b |\n|---|---|\n| x\\|y | several lines |\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
