package build

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/build/buildtest"
	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/bucket"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// oracle is a backend whose processes write a digest of everything that they can see: whatever a
// wrong hit takes from another build shows up in what is built on it. "note FILE" writes, "drop FILE"
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
	if word == "note" {
		content = fmt.Appendf(nil, "%x", h.Sum(nil))
		entry.Type, entry.Mode, entry.Size, entry.ModTime = layer.Regular, 0o644, int64(len(content)), time.Now().UTC()
	}
	l, err := layer.New([]layer.File{{Entry: entry, Content: layer.Bytes(content)}})
	return &isolation.Changes{Root: l}, err
}

// rig is what the builds of one walk have in common.
type rig struct {
	bases [2]string
	store cache.Store
	state string
	runs  int64 // of cached builds
}

// build builds a program, with the cache or without, and gives the image's digest.
func (g *rig) build(t *testing.T, p *buildtest.Program, store cache.Store) (*buildtest.Outcome, error) {
	t.Helper()
	dir, dockerfile := t.TempDir(), filepath.Join(t.TempDir(), "Dockerfile")
	p.Write(t, dir)
	if err := os.WriteFile(dockerfile, []byte(p.Dockerfile()), 0o600); err != nil {
		t.Fatal(err)
	}
	// Everything is as old as that, so that equal content makes equal images.
	epoch := time.Unix(1, 0)
	return g.run(t, Options{
		Context: dir, Dockerfile: dockerfile, Target: p.Target(), BuildArgs: p.Args, Epoch: &epoch,
		BuildContexts: map[string]string{"basis": "oci-layout://" + g.bases[p.Base]}, NoPush: true,
	}, store)
}

func (g *rig) run(t *testing.T, o Options, store cache.Store) (_ *buildtest.Outcome, err error) {
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
	return &buildtest.Outcome{Summary: summary(t, res.Image), Description: describe(t, res.Image)}, nil
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
			g := &rig{store: store, state: t.TempDir()}
			g.makeBases(t)
			buildtest.Walk(t, n, func(t *testing.T, p *buildtest.Program, i int, cached bool) (*buildtest.Outcome, error) {
				t.Helper()
				if !cached {
					return g.build(t, p, nil)
				}
				if i%10 == 0 { // another machine
					g.state = t.TempDir()
				}
				return g.build(t, p, g.store)
			})
			t.Logf("%d RUNs were executed in spite of the cache", g.runs)
		})
	}
}
