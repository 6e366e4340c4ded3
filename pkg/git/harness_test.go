package git_test

import (
	"context"
	"io"
	"io/fs"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/git"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

type secrets map[string]string

func (s secrets) Secret(_ context.Context, id string) ([]byte, error) {
	v, ok := s[id]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(v), nil
}

func newClient(t *testing.T, path string, s secrets, agents map[string]string) *git.Client {
	t.Helper()
	dir, err := state.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	r, err := registry.New(t.Context(), registry.Options{
		State: dir, Retry: registry.Retry{Attempts: 3, Base: time.Millisecond, Max: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	return git.New(git.Options{Registry: r, Secrets: s, Agents: agents, State: dir})
}

var age = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// content lists what a layer has: "path mode content", links as "path -> target".
func content(t *testing.T, l layer.Layer) map[string]string {
	t.Helper()
	v, err := tree.New(l).View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for p, n := range v.Walk("") {
		e := n.Entry()
		switch e.Type {
		case layer.Directory:
			if p != "" {
				all[p] = "dir"
			}
		case layer.Symlink:
			all[p] = "-> " + e.Link
		default:
			data, err := v.ReadFile(t.Context(), p, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			all[p] = string(data)
			if e.Mode != 0o644 {
				all[p] += " (executable)"
			}
			if e.UID != 0 || e.GID != 0 {
				t.Errorf("%s belongs to %d:%d", p, e.UID, e.GID)
			}
		}
	}
	return all
}

func mustLayer(t *testing.T, c *git.Client, g *op.Git) layer.Layer {
	t.Helper()
	l, err := c.Layer(t.Context(), g, age, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
