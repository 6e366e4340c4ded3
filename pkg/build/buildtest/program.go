package buildtest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Program is a Dockerfile with everything around it. Its stages begin with the build context "basis", one of two images
// with a file /base. Its RUNs are "note FILE", for a command that writes a digest of all that it can see into the
// file, and "drop FILE", for one that removes it.
type Program struct {
	// Args are build arguments.
	Args map[string]string
	// Base is which of the two images is the basis.
	Base int

	files  map[string]string // content; "-> target" is a symbolic link
	modes  map[string]os.FileMode
	ignore []string
	stages [][]string
	target int
}

// Target is the name of the stage to build.
func (p *Program) Target() string { return stageNames[p.target:][:1] }

const stageNames = "abcdef"

func (p *Program) clone() *Program {
	c := *p
	c.files, c.modes, c.Args = maps.Clone(p.files), maps.Clone(p.modes), maps.Clone(p.Args)
	c.stages = make([][]string, len(p.stages))
	for i := range p.stages {
		c.stages[i] = slices.Clone(p.stages[i])
	}
	return &c
}

// NewProgram is the program that all walks begin with.
func NewProgram() *Program {
	return &Program{
		files:  map[string]string{"a": "a", "b/c": "c", "b/d/e": "e", "b/l": "-> c", "x.md": "x"},
		modes:  map[string]os.FileMode{},
		Args:   map[string]string{"A0": "0"},
		stages: [][]string{{"RUN note /n0"}, {"COPY . /d0/"}, {"COPY --from=a /n0 /n1"}},
		target: 2,
	}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// step is a random instruction of a stage.
func (p *Program) step(r *rand.Rand, stage int) string {
	n := func(limit int) int { return r.IntN(limit) }
	source := pick(r, "a", "b", "b/*", "b/c", ".", "b/l", "*.md")
	earlier := "root"
	if stage > 0 && n(4) > 0 {
		earlier = stageNames[n(stage):][:1]
	}
	return pick(r,
		fmt.Sprintf("ENV E%d=%d", n(2), n(3)),
		fmt.Sprintf("ARG A%d", n(2)),
		fmt.Sprintf("ARG A%d=%d\nENV F=$A0$A1", n(2), n(3)),
		fmt.Sprintf("WORKDIR /w%d", n(3)),
		fmt.Sprintf("USER %d", n(2)),
		fmt.Sprintf("LABEL l=%d", n(3)),
		fmt.Sprintf("COPY %s /d%d/", source, n(2)),
		fmt.Sprintf("COPY --chmod=%s %s /e/", pick(r, "600", "u+x"), source),
		fmt.Sprintf("COPY --chown=%d:%d %s /o/", n(2), n(2), source),
		fmt.Sprintf("COPY --exclude=%s . /x%d/", pick(r, "b", "*.md", "b/c"), n(2)),
		fmt.Sprintf("COPY --parents %s /p/", pick(r, "b/c", "b/./d/e", "**/e")),
		fmt.Sprintf("COPY --link %s /k%d/", source, n(2)),
		fmt.Sprintf("COPY --from=%s / /f%d/", earlier, n(2)),
		fmt.Sprintf("COPY --from=%s /base /g", earlier),
		fmt.Sprintf("COPY --from=%s /n%d /h/", earlier, n(3)),
		fmt.Sprintf("COPY --link --from=%s / /i%d/", earlier, n(2)),
		fmt.Sprintf("COPY <<EOF /h%d\n$A0 and $E0\nEOF", n(2)),
		fmt.Sprintf("RUN note /n%d", n(3)),
		fmt.Sprintf("RUN note /n%d", n(3)),
		fmt.Sprintf("RUN drop /n%d", n(3)),
		fmt.Sprintf("RUN --network=none note /n%d", n(3)),
		fmt.Sprintf("RUN --mount=type=bind,source=b,target=/m note /n%d", n(3)),
		fmt.Sprintf("RUN --mount=type=bind,from=%s,target=/m note /n%d", earlier, n(3)),
		fmt.Sprintf("RUN --mount=type=bind,from=%s,source=/base,target=/m note /n%d", earlier, n(3)),
		fmt.Sprintf("RUN --mount=type=tmpfs,target=/t%d note /n%d", n(2), n(3)),
		fmt.Sprintf("RUN --mount=type=cache,target=/c%d note /n%d", n(2), n(3)),
	)
}

func (p *Program) insert(r *rand.Rand) {
	s := r.IntN(len(p.stages))
	p.stages[s] = slices.Insert(p.stages[s], r.IntN(len(p.stages[s])+1), p.step(r, s))
}

// mutate changes something, and says what.
func (p *Program) mutate(r *rand.Rand) string {
	s := r.IntN(len(p.stages))
	steps := p.stages[s]
	name := pick(r, slices.Sorted(maps.Keys(p.files))...)
	switch what := r.IntN(14); {
	case what == 0:
		p.files[name] = fmt.Sprint(r.IntN(4))
		return "content of " + name
	case what == 1:
		p.modes[name] = pick(r, os.FileMode(0o644), os.FileMode(0o755), os.FileMode(0o600))
		return "mode of " + name
	case what == 2 && len(p.files) > 3:
		delete(p.files, name)
		return "removal of " + name
	case what == 3:
		name = pick(r, "a", "b/c", "b/n", "b/d/f", "y.md", "a2")
		p.files[name] = fmt.Sprint(r.IntN(4))
		return "a file " + name
	case what == 4:
		p.files["b/l"] = pick(r, "-> c", "-> d/e", "-> ../a", "-> nowhere")
		return "target of a link"
	case what == 5:
		p.ignore = pick(r, nil, []string{"*.md"}, []string{"b", "!b/c"}, []string{"b/d"})
		return ".dockerignore"
	case what == 6:
		p.Args["A0"] = fmt.Sprint(r.IntN(3))
		return "a build argument"
	case what == 7:
		p.Base = r.IntN(2)
		return "the base image"
	case what == 8:
		p.target = r.IntN(len(p.stages))
		return "the target"
	case what <= 10 && len(steps) > 0:
		i := r.IntN(len(steps))
		if len(steps) < 6 && what == 10 {
			steps[i] = p.step(r, s)
			return "a step in place of another"
		}
		p.stages[s] = slices.Delete(steps, i, i+1)
		return "removal of a step"
	case what == 11 && len(steps) > 1:
		i := r.IntN(len(steps) - 1)
		steps[i], steps[i+1] = steps[i+1], steps[i]
		return "the order of two steps"
	case what == 12:
		return "nothing but times"
	}
	p.insert(r)
	return "another step"
}

// Dockerfile is the text of the Dockerfile.
func (p *Program) Dockerfile() string {
	var b strings.Builder
	// One stage for all, as the frontend has a data race where several resolve a named context.
	b.WriteString("FROM basis AS root\n")
	for i, steps := range p.stages {
		fmt.Fprintf(&b, "FROM root AS %c\n%s\n", stageNames[i], strings.Join(steps, "\n"))
	}
	return b.String()
}

// Write makes the context in a new directory.
func (p *Program) Write(t *testing.T, dir string) {
	t.Helper()
	files := maps.Clone(p.files)
	files[".dockerignore"] = strings.Join(p.ignore, "\n")
	for name, content := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = errors.Join(err, os.Symlink(target, path))
		} else {
			mode := os.FileMode(0o644)
			if m, ok := p.modes[name]; ok {
				mode = m
			}
			err = errors.Join(err, os.WriteFile(path, []byte(content), 0o600), os.Chmod(path, mode))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
