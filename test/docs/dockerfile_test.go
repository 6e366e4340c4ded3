package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// row is a line of the tables in docs/dockerfile.md.
type row struct {
	section, feature, state string
	tests                   []link
}

// link names a test, or a case, and the file that it is in.
type link struct{ name, path string }

func dockerfileRows(t *testing.T) []row {
	t.Helper()
	dir := filepath.Join(top, "docs")
	text, err := os.ReadFile(filepath.Join(dir, "dockerfile.md"))
	if err != nil {
		t.Fatal(err)
	}
	linked := regexp.MustCompile(`\[([^\]]+)\]\(([^)]+)\)`)
	var rows []row
	section := ""
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(title)
		}
		cells := strings.Split(strings.ReplaceAll(line, `\|`, ""), "|")
		if len(cells) != 6 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[3]) == "Slipway" {
			continue
		}
		r := row{section: section, feature: strings.TrimSpace(cells[1]), state: strings.TrimSpace(cells[3])}
		for _, m := range linked.FindAllStringSubmatch(cells[4], -1) {
			r.tests = append(r.tests, link{m[1], filepath.Join(dir, m[2])})
		}
		rows = append(rows, r)
	}
	if len(rows) < 50 {
		t.Fatalf("found only %d rows", len(rows))
	}
	return rows
}

// The table of the Dockerfile language links each feature that works to the tests that show it. Those
// exist: the file, and in it, if it is not one case alone, the test or case that the link names.
func TestDockerfileTable(t *testing.T) {
	for _, r := range dockerfileRows(t) {
		if len(r.tests) == 0 && !strings.HasPrefix(r.state, "later") {
			t.Errorf("%s: nothing shows that it is so", r.feature)
		}
		for _, l := range r.tests {
			if err := shown(l.path, l.name); err != "" {
				t.Errorf("%s: %s", r.feature, err)
			}
		}
	}
}

// What has to do with RUN is shown under both isolations: by a golden case, which is built under each, or in
// the suite that both must pass. Where a case says that inplace differs, the table says it, and the other
// way round.
func TestDockerfileTableIsOfBothIsolations(t *testing.T) {
	told := map[string]bool{} // cases that a row which speaks of inplace links to
	for _, r := range dockerfileRows(t) {
		both, differs := false, false
		for _, l := range r.tests {
			runs, inplace := isolations(t, l.path)
			both = both || runs || strings.Contains(l.path, "isolationtest")
			differs = differs || inplace
			told[l.path] = told[l.path] || strings.Contains(r.state, "`inplace`")
		}
		if (r.section == "Options of RUN --mount" || strings.Contains(r.feature, "`RUN")) && !both {
			t.Errorf("%s: nothing shows it under both isolations", r.feature)
		}
		if strings.Contains(r.state, "`inplace`") && !differs {
			t.Errorf("%s: no case shows what is said of inplace", r.feature)
		}
	}
	cases, err := filepath.Glob(filepath.Join(top, "test/golden/testdata/*.txtar"))
	if err != nil || len(cases) == 0 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, file := range cases {
		if _, inplace := isolations(t, file); inplace && !told[file] {
			t.Errorf("%s differs under inplace, and no row says so", file)
		}
	}
}

// isolations says whether a golden case has a RUN, and whether what comes out differs under inplace.
func isolations(t *testing.T, file string) (runs, inplace bool) {
	t.Helper()
	if filepath.Ext(file) != ".txtar" {
		return false, false
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`(?mi)^(ONBUILD )?RUN `).Match(data), strings.Contains(string(data), "\n-- inplace.want.")
}

// shown says what is wrong with a link to a test, "" if nothing is.
func shown(path, name string) string {
	data, err := os.ReadFile(path)
	switch {
	case err != nil:
		return err.Error()
	case filepath.Ext(path) == ".txtar":
		if strings.TrimSuffix(filepath.Base(path), ".txtar") != name {
			return path + " is called " + name
		}
	case !strings.Contains(string(data), "func "+name+"(") && !strings.Contains(string(data), `"`+name+`"`):
		return path + " has no test " + name
	}
	return ""
}
