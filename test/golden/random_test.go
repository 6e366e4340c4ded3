//go:build buildkit

package golden

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var (
	randomCount = flag.Int("random", 0, "so many random Dockerfiles to compare with BuildKit")
	randomSeed  = flag.Uint64("seed", 1, "the first of the random Dockerfiles")
)

// TestBuildKitRandom compares random sequences of COPY, ADD, WORKDIR and RUN over a random context.
func TestBuildKitRandom(t *testing.T) {
	if *randomCount == 0 {
		t.Skip("no number of Dockerfiles is given with -random")
	}
	s := newSuite(t)
	daemon := startBuildKit(t, buildkitDir(t), s.host)
	t.Run("cases", func(t *testing.T) {
		for i := range *randomCount {
			seed := *randomSeed + uint64(i)
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				t.Parallel()
				s.compareRandom(t, randomCase(seed), daemon)
			})
		}
	})
}

func (s *suite) compareRandom(t *testing.T, c *goldenCase, daemon *buildkit) {
	dir := t.TempDir()
	if err := c.setup(dir, s.bases); err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(dir, "slipway")
	end := s.run(t, c, dir, layout)
	out := filepath.Join(dir, "buildkit")
	output, err := daemon.build(t.Context(), s, c, dir, out)
	switch {
	case end.code != 0 && err != nil:
		t.Logf("both fail: %s", lastLines(end.stderr, 1))
		return
	case end.code != 0:
		t.Errorf("%s\nSlipway fails, BuildKit does not: %s", txtar.Format(c.archive), end.stderr)
		return
	case err != nil:
		t.Errorf("%s\nBuildKit fails, Slipway does not: %s", txtar.Format(c.archive), lastLines(output, 1))
		return
	}
	t.Log("both build")
	_, got, err := s.describe(layout, c)
	if err != nil {
		t.Fatal(err)
	}
	input := string(txtar.Format(c.archive))
	for name, text := range got {
		// BuildKit does not keep the one attribute in the base.
		text = strings.ReplaceAll(text, ` user.color="blue"`, "")
		c.archive.Files = append(c.archive.Files, txtar.File{Name: name, Data: []byte(text)})
	}
	diff, err := s.differences(c, out, output, false)
	if err != nil {
		t.Fatal(err)
	}
	if diff != "" {
		t.Errorf("%s\n%s", input, diff)
	}
}

// dice makes random choices.
type dice struct{ *rand.Rand }

func (d dice) of(choices ...string) string { return choices[d.IntN(len(choices))] }

func (d dice) oneIn(n int) bool { return d.IntN(n) == 0 }

// path is a path of few names, so that paths often meet.
func (d dice) path() string {
	p := d.of("a", "b", "c")
	for d.oneIn(2) {
		p += "/" + d.of("a", "b", "c")
	}
	return p
}

func randomCase(seed uint64) *goldenCase {
	d := dice{rand.New(rand.NewPCG(seed, 0))}
	var files, dockerfile strings.Builder
	made := map[string]bool{} // whether it is a directory
	for range 12 {
		d.addFile(&files, made)
	}
	paths := slices.Sorted(maps.Keys(made))
	fmt.Fprintln(&dockerfile, "FROM registry.test/fixture AS base\nFROM "+d.of("base", "base", "scratch")+" AS one")
	d.addSteps(&dockerfile, "--from=base ", paths)
	fmt.Fprintln(&dockerfile, "FROM "+d.of("base", "scratch", "one"))
	d.addSteps(&dockerfile, "--from=one ", paths)
	return &goldenCase{
		name: fmt.Sprint(seed),
		archive: &txtar.Archive{Files: []txtar.File{
			{Name: dockerfileName, Data: []byte(dockerfile.String())},
			{Name: sectionFiles, Data: []byte(files.String())},
		}},
	}
}

// addFile adds one file to the context, unless the path is taken or below a file.
func (d dice) addFile(w *strings.Builder, made map[string]bool) {
	p := d.path()
	if _, taken := made[p]; taken {
		return
	}
	for dir := filepath.Dir(p); dir != "."; dir = filepath.Dir(dir) {
		if isDir, taken := made[dir]; taken && !isDir {
			return
		}
	}
	for dir := filepath.Dir(p); dir != "."; dir = filepath.Dir(dir) {
		made[dir] = true
	}
	kind := d.of("content="+d.of("1", "22", "333"), "content=x", "content=yy", "dir", "symlink="+d.of("a", "b/c", "../a", "missing", "/srv/dir"))
	made[p] = kind == "dir"
	line := "context/" + p + " " + kind
	if !strings.HasPrefix(kind, "symlink") && d.oneIn(2) {
		line += " mode=" + d.of("0700", "0640", "4755", "1777")
	}
	fmt.Fprintln(w, line)
}

func (d dice) addSteps(w *strings.Builder, from string, paths []string) {
	for range 1 + d.IntN(5) {
		switch {
		case d.oneIn(6):
			fmt.Fprintln(w, "WORKDIR", d.dest())
		case d.oneIn(3):
			d.addRun(w)
		case d.oneIn(8):
			fmt.Fprintln(w, "USER", d.of("1000", "12:34", "root"))
		default:
			d.addCopy(w, from, paths)
		}
	}
}

// addRun adds a RUN that changes the tree in some ways; what is not possible is left.
func (d dice) addRun(w *strings.Builder) {
	somewhere := func() string {
		return d.of("/srv/", "/srv/dir/", "/srv/dir/sub/", "/new/", "/", "/srv/link/") + d.of("a", "b", "c", "dir", "file", "suid", "opaque", "empty", "new")
	}
	commands := []string{"umask 022"}
	for range 1 + d.IntN(6) {
		p, q := somewhere(), somewhere()
		commands = append(commands, d.of(
			"rm -rf "+p, "rm -rf "+p, "mkdir -p "+p, "mv "+p+" "+q, "mv "+p+" "+q, "cp -a "+p+" "+q, "echo "+q+" > "+p,
			"rm -rf "+p+"; mkdir "+p, "chmod "+d.of("700", "4755", "1777")+" "+p, "chown -h "+d.of("1:2", "0:50")+" "+p,
			"ln -s "+p+" "+q, "echo x > /h && ln /h "+p+" && ln /h "+q, "mkfifo "+p, "touch -d @1000000000 "+p+"/f",
		))
	}
	fmt.Fprintln(w, "RUN ("+strings.Join(commands, "; ")+") 2>/dev/null; true")
}

func (d dice) dest() string {
	p := d.of("/", "/srv/", "/new/", "") + d.of("a", "b", "a/b", "link", "abs/x", "dir", "dir/sub", "empty", "empty/x", "opaque", "c/b/a")
	if d.oneIn(15) {
		p = d.of("/srv/file", "/srv/filelink", "/srv/loop", "/srv/hard1", "/srv/locked/f")
	}
	return p + d.of("", "/")
}

func (d dice) addCopy(w *strings.Builder, from string, paths []string) {
	flags := ""
	source := func() string { return d.of("/", "", "./") + d.of(paths...) }
	if d.oneIn(3) {
		flags += from
		source = func() string {
			return d.of("/srv/dir", "/srv/link", "/srv/l*", "/srv/hard?", "/srv", "/srv/file", "/srv/abs/sub", "/srv/dir/*", "/srv/suid", "/?")
		}
	}
	if d.oneIn(4) {
		flags += "--chown=" + d.of("1:2", "5", "7:0", d.of("demo", "demo:staff")) + " "
	}
	if d.oneIn(4) {
		flags += "--chmod=" + d.of("700", "u+x,g-w", "a=rX", "4711") + " "
	}
	if d.oneIn(6) {
		flags += "--exclude=" + d.of("a", "*/b", "**/c", "a/b", "*") + " "
	}
	instruction := "COPY "
	switch {
	case d.oneIn(5):
		instruction = "ADD "
		flags = strings.ReplaceAll(flags, from, "")
		source = func() string { return d.of(paths...) }
	case d.oneIn(6):
		flags += "--parents "
	case d.oneIn(6) && !strings.Contains(flags, "demo"):
		flags += "--link "
	}
	sources := source()
	for d.oneIn(3) {
		sources += " " + source()
	}
	if d.oneIn(5) {
		sources = d.of("*", ".", "?/*", "?*", "[ab]", "./")
	}
	dest := d.dest()
	if strings.Contains(sources, " ") {
		dest = strings.TrimSuffix(dest, "/") + "/"
	}
	fmt.Fprintln(w, instruction+flags+sources, dest)
}
