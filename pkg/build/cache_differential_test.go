package build

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/bucket"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// oracle is a backend whose processes write a digest of everything that they can see: whatever a
// wrong hit takes from another build shows up in what is built on it. "w FILE" writes, "d FILE"
// removes.
type oracle struct{ runs atomic.Int64 }

func (*oracle) Name() string { return "oracle" }
func (*oracle) Close() error { return nil }

func (o *oracle) Run(ctx context.Context, p *isolation.Process) (*isolation.Changes, error) {
	o.runs.Add(1)
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %v %v %v\n", p.Args, p.Env, p.Cwd, p.User, p.Network, p.Insecure)
	see := func(where string, t *tree.Tree, p string) error {
		view, err := t.View(ctx)
		if err != nil {
			return err
		}
		sum, err := view.Digest(ctx, p)
		fmt.Fprintf(h, "%s %x\n", where, sum)
		return err
	}
	if err := see("/", p.Root, ""); err != nil {
		return nil, err
	}
	for _, m := range p.Mounts {
		if m.Type != isolation.MountBind {
			fmt.Fprintf(h, "%v %s\n", m.Type, m.Target)
			continue
		}
		if err := see(m.Target, m.Tree, m.Selector); err != nil {
			return nil, err
		}
	}
	word, name, _ := strings.Cut(p.Args[len(p.Args)-1], " ")
	if word == "false" {
		return nil, &isolation.ExitError{Code: 1}
	}
	entry := layer.Entry{Path: strings.TrimPrefix(name, "/"), Type: layer.Whiteout}
	var content []byte
	if word == "w" {
		content = fmt.Appendf(nil, "%x", h.Sum(nil))
		entry.Type, entry.Mode, entry.Size, entry.ModTime = layer.Regular, 0o644, int64(len(content)), time.Now().UTC()
	}
	l, err := layer.New([]layer.File{{Entry: entry, Content: layer.Bytes(content)}})
	return &isolation.Changes{Root: l}, err
}

// program is a Dockerfile with everything around it.
type program struct {
	files  map[string]string // content; "-> target" is a symbolic link
	modes  map[string]os.FileMode
	ignore []string
	stages [][]string
	args   map[string]string
	base   int // which of two base images
	target int
}

const stageNames = "abcdef"

func (p *program) clone() *program {
	c := *p
	c.files, c.modes, c.args = maps.Clone(p.files), maps.Clone(p.modes), maps.Clone(p.args)
	c.stages = make([][]string, len(p.stages))
	for i := range p.stages {
		c.stages[i] = slices.Clone(p.stages[i])
	}
	return &c
}

func newProgram() *program {
	return &program{
		files:  map[string]string{"a": "a", "b/c": "c", "b/d/e": "e", "b/l": "-> c", "x.md": "x"},
		modes:  map[string]os.FileMode{},
		args:   map[string]string{"A0": "0"},
		stages: [][]string{{"RUN w /n0"}, {"COPY . /d0/"}, {"COPY --from=a /n0 /n1"}},
		target: 2,
	}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// step is a random instruction of a stage.
func (p *program) step(r *rand.Rand, stage int) string {
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
		fmt.Sprintf("RUN w /n%d", n(3)),
		fmt.Sprintf("RUN w /n%d", n(3)),
		fmt.Sprintf("RUN d /n%d", n(3)),
		fmt.Sprintf("RUN --network=none w /n%d", n(3)),
		fmt.Sprintf("RUN --mount=type=bind,source=b,target=/m w /n%d", n(3)),
		fmt.Sprintf("RUN --mount=type=bind,from=%s,target=/m w /n%d", earlier, n(3)),
		fmt.Sprintf("RUN --mount=type=bind,from=%s,source=/base,target=/m w /n%d", earlier, n(3)),
		fmt.Sprintf("RUN --mount=type=tmpfs,target=/t%d w /n%d", n(2), n(3)),
		fmt.Sprintf("RUN --mount=type=cache,target=/c%d w /n%d", n(2), n(3)),
	)
}

func (p *program) insert(r *rand.Rand) {
	s := r.IntN(len(p.stages))
	p.stages[s] = slices.Insert(p.stages[s], r.IntN(len(p.stages[s])+1), p.step(r, s))
}

// mutate changes something, and says what.
func (p *program) mutate(r *rand.Rand) string {
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
		p.args["A0"] = fmt.Sprint(r.IntN(3))
		return "a build argument"
	case what == 7:
		p.base = r.IntN(2)
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

func (p *program) dockerfile() string {
	var b strings.Builder
	// One stage for all, as the frontend has a data race where several resolve a named context.
	b.WriteString("FROM basis AS root\n")
	for i, steps := range p.stages {
		fmt.Fprintf(&b, "FROM root AS %c\n%s\n", stageNames[i], strings.Join(steps, "\n"))
	}
	return b.String()
}

// write makes the context in a new directory.
func (p *program) write(t *testing.T, dir string) {
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

// rig is what the builds of one walk have in common.
type rig struct {
	bases [2]string
	store cache.Store
	state string
	runs  int64 // of cached builds
}

// build builds a program, with the cache or without, and gives the image's digest.
func (g *rig) build(t *testing.T, p *program, store cache.Store) (*outcome, error) {
	t.Helper()
	dir, dockerfile := t.TempDir(), filepath.Join(t.TempDir(), "Dockerfile")
	p.write(t, dir)
	if err := os.WriteFile(dockerfile, []byte(p.dockerfile()), 0o600); err != nil {
		t.Fatal(err)
	}
	// Everything is as old as that, so that equal content makes equal images.
	epoch := time.Unix(1, 0)
	return g.run(t, Options{
		Context: dir, Dockerfile: dockerfile, Target: stageNames[p.target:][:1], BuildArgs: p.args, Epoch: &epoch,
		BuildContexts: map[string]string{"basis": "oci-layout://" + g.bases[p.base]}, NoPush: true,
	}, store)
}

func (g *rig) run(t *testing.T, o Options, store cache.Store) (_ *outcome, err error) {
	t.Helper()
	o.StateDir, o.Progress, o.ProgressTo = g.state, "quiet", io.Discard
	s := &session{Options: o, now: time.Now().UTC()}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(t.Context()); err != nil {
		return nil, err
	}
	backend := &oracle{}
	s.env.Isolation = backend
	if store != nil {
		s.cacheFrom, s.cacheTo = []cache.Store{store}, []cache.Store{store}
		defer func() { g.runs += backend.runs.Load() }()
	}
	res, err := s.run(t.Context())
	if err != nil {
		return nil, err
	}
	return &outcome{summary(t, res.Image), describe(t, res.Image)}, nil
}

// makeBases makes two base images.
func (g *rig) makeBases(t *testing.T) {
	t.Helper()
	for i := range g.bases {
		dir := t.TempDir()
		content := fmt.Sprintf("FROM scratch\nCOPY <<EOF /base\n%d\nEOF\nCOPY <<EOF /etc/passwd\nroot:x:0:0::/:\nEOF\n", i)
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		g.bases[i] = filepath.Join(dir, "layout")
		if _, err := g.run(t, Options{Context: dir, OCILayoutPath: g.bases[i]}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// outcome is what a build gave: what is compared, and what is shown.
type outcome struct{ summary, description string }

// summary is everything of an image but times, and what depends on them: diffIDs, and whether a
// directory is in a layer that has the content of the one below.
func summary(t *testing.T, b *image.Built) string {
	t.Helper()
	raw, err := b.Images()[0].RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	delete(config, "rootfs")
	view, err := b.Images()[0].Tree().View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum, err := view.Digest(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x %v", sum, config)
}

// describe lists what an image has.
func describe(t *testing.T, b *image.Built) string {
	t.Helper()
	config, err := b.Images()[0].RawConfigFile()
	if err != nil {
		t.Error(err)
	}
	out := string(config) + "\n"
	for _, l := range b.Images()[0].Tree().Layers() {
		x, err := l.Index(t.Context())
		if err != nil {
			t.Error(err)
			continue
		}
		out += "layer\n"
		for e := range x.All() {
			out += fmt.Sprintf("  %+v\n", *e)
		}
	}
	return out
}

// mutations is how many there are in all; walks, in how many sequences.
const (
	mutations = 2000
	walks     = 8
)

// However a Dockerfile and its context change: with a cache that has seen all their earlier forms, the
// build gives what it gives without.
func TestCachedEqualsUncached(t *testing.T) {
	n := mutations / walks
	if testing.Short() {
		n = 10
	}
	store := bucket.Memory(t.Context())
	for walk := range walks {
		t.Run(fmt.Sprint(walk), func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			if given := os.Getenv("SLIPWAY_TEST_SEED"); given != "" {
				var err error
				if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("the seed is %d: with SLIPWAY_TEST_SEED, it is the same again", seed)
			g := &rig{store: store, state: t.TempDir()}
			g.makeBases(t)
			r := rand.New(rand.NewPCG(seed, 0))
			p := newProgram()
			failed := 0
			for i := range n {
				before := p.clone()
				what := p.mutate(r)
				want, wantErr := g.build(t, p, nil)
				if i%10 == 0 { // another machine
					g.state = t.TempDir()
				}
				got, gotErr := g.build(t, p, g.store)
				if (wantErr == nil) != (gotErr == nil) || (want != nil && want.summary != got.summary) {
					t.Fatalf("mutation %d, %s\n%s\nwith cache: %v\n%+v\nwithout: %v\n%+v", i, what, p.dockerfile(), gotErr, got, wantErr, want)
				}
				if wantErr != nil {
					failed++
					p = before // most of what follows would fail the same way
				}
			}
			t.Logf("%d builds, %d of them failed; %d RUNs were executed in spite of the cache", n, failed, g.runs)
			if failed > n/2 {
				t.Errorf("%d of %d builds failed: they show too little", failed, n)
			}
		})
	}
}
