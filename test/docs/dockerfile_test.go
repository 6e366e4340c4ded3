package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The table of the Dockerfile language links each feature that works to the tests that show it. Those
// exist: the file, and in it, if it is not one case alone, the test or case that the link names.
func TestDockerfileTable(t *testing.T) {
	dir := filepath.Join(top, "docs")
	text, err := os.ReadFile(filepath.Join(dir, "dockerfile.md"))
	if err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`\[([^\]]+)\]\(([^)]+)\)`)
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, ""), "|")
		if len(cells) != 6 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[3]) == "Slipway" {
			continue
		}
		rows++
		feature, state, tests := strings.TrimSpace(cells[1]), strings.TrimSpace(cells[3]), link.FindAllStringSubmatch(cells[4], -1)
		if len(tests) == 0 && !strings.HasPrefix(state, "later") {
			t.Errorf("%s: nothing shows that it is so", feature)
		}
		for _, m := range tests {
			if err := shown(filepath.Join(dir, m[2]), m[1]); err != "" {
				t.Errorf("%s: %s", feature, err)
			}
		}
	}
	if rows < 50 {
		t.Fatalf("found only %d rows", rows)
	}
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
