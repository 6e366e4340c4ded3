package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

func TestFillCache(t *testing.T) {
	failed := errors.New("disk full")
	for _, c := range []struct {
		name    string
		tree    *tree.Tree
		there   bool // the cache has something
		failure error
		want    string // what is in the cache
	}{
		{"empty", tree.New(layer.Empty()), false, nil, "new"},
		{"filled before", tree.New(layer.Empty()), true, nil, "old"},
		{"without first content", nil, false, nil, ""},
		{"interrupted", tree.New(layer.Empty()), false, failed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "cache")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if c.there {
				if err := os.WriteFile(filepath.Join(dir, "old"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			err := FillCache(t.Context(), &isolation.Mount{Tree: c.tree, HostDir: dir}, func(_ context.Context, _ *tree.View, to string) error {
				return errors.Join(os.WriteFile(filepath.Join(to, "new"), nil, 0o644), c.failure)
			})
			if !errors.Is(err, c.failure) {
				t.Errorf("error is %v, want %v", err, c.failure)
			}
			got := ""
			for _, e := range list(t, dir) {
				got += e.Name()
			}
			if got != c.want {
				t.Errorf("the cache holds %q, want %q", got, c.want)
			}
			if beside := list(t, parent); len(beside) != 1 {
				t.Errorf("beside the cache is something left: %v", beside)
			}
		})
	}
}

func list(t *testing.T, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}
