// Package docs checks that the documentation says what is true: its links lead somewhere, the
// make targets and the flags that it shows exist.
package docs

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/kaniko"
	"github.com/slipway-build/slipway/internal/testbin"
)

const top = "../.."

// pages gives the Markdown files of the repository with their text.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != top && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"testdata", "demo-out", "dist"}, d.Name())) {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found[path] = string(data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 5 {
		t.Fatalf("found only %d pages", len(found))
	}
	return found
}

func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.+)$`)
	all := pages(t)
	for page, text := range all {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := page
			if target != "" {
				path = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
				continue
			}
			if anchor == "" {
				continue
			}
			var anchors []string
			for _, h := range heading.FindAllStringSubmatch(all[path], -1) {
				anchors = append(anchors, strings.NewReplacer(" ", "-", "'", "").Replace(strings.ToLower(h[1])))
			}
			if !slices.Contains(anchors, anchor) {
				t.Errorf("%s links to %s: that page has no such heading", page, m[1])
			}
		}
	}
}

func TestMakeTargets(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(top, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		targets[m[1]] = true
	}
	mention := regexp.MustCompile("(?m)(?:^|`)make ([a-z-]+)")
	mentions := 0
	for page, text := range pages(t) {
		for _, m := range mention.FindAllStringSubmatch(text, -1) {
			mentions++
			if !targets[m[1]] {
				t.Errorf("%s mentions make %s, which does not exist", page, m[1])
			}
		}
	}
	if mentions == 0 {
		t.Error("no page mentions a make target")
	}
}

// flagsOf gives the flags that the help of commands lists, without dashes.
func flagsOf(t *testing.T, commands ...string) []string {
	t.Helper()
	return slices.Concat(flagGroups(t, commands...)...)
}

// flagGroups is flagsOf with all names of a flag in one list.
func flagGroups(t *testing.T, commands ...string) [][]string {
	t.Helper()
	binary, err := testbin.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var help []byte
	for _, c := range commands {
		page, err := exec.CommandContext(t.Context(), binary, append(strings.Fields(c), "--help")...).Output()
		if err != nil {
			t.Fatal(err)
		}
		help = append(help, page...)
	}
	var flags [][]string
	for line := range strings.Lines(string(help)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "-") {
			continue
		}
		var names []string
		for _, m := range regexp.MustCompile(`(?:^|, )--?([A-Za-z][A-Za-z-]*)`).FindAllStringSubmatch(line, -1) {
			names = append(names, m[1])
		}
		flags = append(flags, names)
	}
	if len(flags) < 10 {
		t.Fatalf("--help lists only %d flags:\n%s", len(flags), help)
	}
	return flags
}

// shownFlag matches a flag in text.
func shownFlag() *regexp.Regexp { return regexp.MustCompile("[`\\s\"]--?([a-z][A-Za-z-]*)") }

// The page of slipway index shows its flags, all of them and no others.
func TestIndexFlags(t *testing.T) {
	checkFlags(t, "index-command.md", "index")
}

func TestLintAndPlanFlags(t *testing.T) {
	checkFlags(t, "lint-and-plan.md", "lint", "plan")
}

// The section on base images names the flags of the command that fetches them.
func TestCacheWarmFlags(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(top, "docs/cache.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Base images\n")
	section, _, _ = strings.Cut(section, "\n## ")
	section = regexp.MustCompile("(?m)^slipway build .*$").ReplaceAllString(section, "")
	known := flagsOf(t, "cache warm")
	var shown []string
	for _, m := range shownFlag().FindAllStringSubmatch(section, -1) {
		shown = append(shown, m[1])
		if !slices.Contains(known, m[1]) {
			t.Errorf("cache.md shows the flag %s, which slipway cache warm does not have", m[1])
		}
	}
	for _, f := range known {
		if !slices.Contains(shown, f) && f != "help" && f != "h" && strings.ToLower(f) == f {
			t.Errorf("cache.md does not describe the flag %s of slipway cache warm", f)
		}
	}
}

func TestCachePruneFlags(t *testing.T) {
	checkFlags(t, "cache-command.md", "cache prune")
}

func TestSignFlags(t *testing.T) {
	checkFlags(t, "signing.md", "sign", "attest")
}

// checkFlags checks that a page shows the flags of the commands, all of them and no others.
func checkFlags(t *testing.T, page string, commands ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	// Flags of instructions, and of other commands that are named with them, are not meant.
	others := regexp.MustCompile("(?:RUN|COPY|ADD|FROM) --[a-z]+|slipway build --[a-z]+|cosign (?:\\\\\n|[^`\n])*")
	var shown []string
	for _, m := range shownFlag().FindAllStringSubmatch(others.ReplaceAllString(string(text), ""), -1) {
		shown = append(shown, m[1])
	}
	known := flagsOf(t, commands...)
	for _, f := range shown {
		if !slices.Contains(known, f) {
			t.Errorf("%s shows the flag %s, which slipway %s does not have", page, f, strings.Join(commands, " and "))
		}
	}
	for _, f := range known {
		if !slices.Contains(shown, f) && f != "help" && f != "h" && strings.ToLower(f) == f {
			t.Errorf("%s does not describe the flag %s", page, f)
		}
	}
}

// Whatever a flag of slipway build does can be had from the Task: by an argument of it, by EXTRA_ARGS as its README
// shows, or it is of no use in a pod.
func TestTaskHasFlags(t *testing.T) {
	ofNoUse := []string{
		"quiet",         // PROGRESS does more
		"progress-file", // is Argo's
		"results-dir",   // the Task names each result
		"pull",          // does nothing
		"bucket",        // is CONTEXT's
		"dryrun",        // builds nothing
		"cleanup",       // the container of a step ends with the build
		"log-format",    // PROGRESS does more
		"help",
	}
	for _, f := range kaniko.Flags() {
		ofNoUse = append(ofNoUse, f.Name)
	}
	task, err := os.ReadFile(filepath.Join(top, "task/slipway/slipway.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(top, "task/slipway/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, further, _ := strings.Cut(string(readme), "### Further flags\n")
	further, _, _ = strings.Cut(further, "\n## ")
	had := slices.Clone(ofNoUse)
	for _, m := range regexp.MustCompile("(?m)(?:^ +- |`)--([a-z-]+)").FindAllStringSubmatch(string(task)+further, -1) {
		had = append(had, m[1])
	}
	for _, names := range flagGroups(t, "build") {
		if !slices.ContainsFunc(names, func(n string) bool { return slices.Contains(had, n) || slices.Contains(had, plural(n)) }) {
			t.Errorf("neither the Task nor its README has --%s", names[0])
		}
	}
}

// plural is the name of the flag for all values of one that can be repeated.
func plural(flag string) string {
	if way, ok := strings.CutPrefix(flag, "cache-"); ok && (way == "from" || way == "to") {
		return "caches-" + way
	}
	if flag == "cache-mounts" {
		return "cache-mount-modes"
	}
	if stem, ok := strings.CutSuffix(flag, "y"); ok {
		return stem + "ies"
	}
	return flag + "s"
}

func TestFlags(t *testing.T) {
	known := flagsOf(t, "build")
	// Flags of a Dockerfile's instructions are not ours.
	instruction := regexp.MustCompile("(?:RUN|COPY|ADD|FROM) --[a-z]+")
	call := regexp.MustCompile(`(?:^|[\s/]bin/|[^/\w])slipway (?:build|--)|/usr/local/bin/slipway`)
	documented := map[string]bool{}
	for page, text := range pages(t) {
		inCall, inContainer := false, false
		if filepath.Base(page) == "kaniko.md" { // the rest is about other commands
			text, _, _ = strings.Cut(text, "## Flags of the warmer")
		}
		for line := range strings.Lines(text) {
			table := slices.Contains([]string{"build.md", "results.md", "cache.md", "kaniko.md"}, filepath.Base(page))
			switch {
			case call.MatchString(line):
				inCall = true
			case strings.HasPrefix(line, "```"):
				inCall, inContainer = false, false
			}
			if !inCall && !(table && strings.HasPrefix(line, "|")) {
				continue
			}
			// A shell's call ends with its line, unless that is continued; the arguments of
			// a container go on.
			inContainer = inContainer || strings.Contains(line, "/usr/local/bin/slipway")
			inCall = inContainer || inCall && strings.HasSuffix(strings.TrimSpace(line), "\\")
			if _, command, ok := strings.Cut(line, "slipway build"); ok {
				line = command
			}
			line = instruction.ReplaceAllString(line, "")
			for _, m := range shownFlag().FindAllStringSubmatch(line, -1) {
				documented[m[1]] = true
				if !slices.Contains(known, m[1]) {
					t.Errorf("%s shows the flag %s, which slipway build does not have: %s", page, m[1], strings.TrimSpace(line))
				}
			}
		}
	}
	for _, f := range known {
		if !documented[f] && f != "help" && f != "h" && strings.ToLower(f) == f {
			t.Errorf("no page describes the flag %s", f)
		}
	}
}

// The page for those whose builds fail has every reason that there is, and every exit code.
func TestTroubleshooting(t *testing.T) {
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(top, "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	page := read("troubleshooting.md")
	reasons := regexp.MustCompile("(?m)^\\| `([A-Z][a-z][a-zA-Z]+)` \\|").FindAllStringSubmatch(read("results.md"), -1)
	if len(reasons) < 10 {
		t.Fatalf("found only %d reasons", len(reasons))
	}
	for _, m := range reasons {
		if !strings.Contains(page, "\n| `"+m[1]+"` |") {
			t.Errorf("the page does not say what to do about %s", m[1])
		}
	}
	for _, code := range []string{"1", "2", "75", "77", "137", "130, 143"} {
		if !strings.Contains(page, "\n| "+code+" |") {
			t.Errorf("the page does not say what to do about exit code %s", code)
		}
	}
}
