package build

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// shape gives the trees of the images the layers that were asked for: without what is at --ignore-path,
// and with --single-snapshot in one. Layers of base images stay as they are.
func (s *session) shape(ctx context.Context, trees []*tree.Tree) ([]*tree.Tree, error) {
	if len(s.IgnorePaths) == 0 && !s.SingleLayer {
		return trees, nil
	}
	shaped := make([]*tree.Tree, len(trees))
	for i, t := range trees {
		layers, err := without(ctx, t.Layers(), s.ignored)
		if err == nil && s.SingleLayer {
			layers, err = squash(ctx, layers)
		}
		if err != nil {
			return nil, err
		}
		shaped[i] = tree.New(layers...)
	}
	return shaped, nil
}

// without leaves out what ignored reports.
func without(ctx context.Context, layers []layer.Layer, ignored func(path string) bool) ([]layer.Layer, error) {
	for i, l := range layers {
		if layer.IsBase(l) {
			continue
		}
		var err error
		if layers[i], err = layer.Without(ctx, l, ignored); err != nil {
			return nil, err
		}
	}
	return layers, nil
}

// squash makes one layer of each run of new ones.
func squash(ctx context.Context, layers []layer.Layer) ([]layer.Layer, error) {
	var out, run []layer.Layer
	end := func() error {
		if len(run) == 0 {
			return nil
		}
		l, err := layer.Squash(ctx, run)
		out, run = append(out, l), nil
		return err
	}
	for _, l := range layers {
		if !layer.IsBase(l) {
			run = append(run, l)
			continue
		}
		if err := end(); err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, end()
}

// ignored reports whether the path of a layer is at or below one of --ignore-path. Each part of these may be a
// pattern, as with Kaniko.
func (o *Options) ignored(p string) bool {
	parts := strings.Split(p, "/")
	for _, ignore := range o.IgnorePaths {
		patterns := strings.Split(strings.Trim(path.Clean("/"+ignore), "/"), "/")
		if len(patterns) <= len(parts) && matchAll(patterns, parts) {
			return true
		}
	}
	return false
}

func matchAll(patterns, parts []string) bool {
	for i, pattern := range patterns {
		if ok, err := path.Match(pattern, parts[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// checkIgnored refuses what can't be a path to be ignored.
func (o *Options) checkIgnored() error {
	for _, ignore := range o.IgnorePaths {
		if path.Clean("/"+ignore) == "/" {
			return errors.New("--ignore-path: all of the image would be left out")
		}
		if _, err := path.Match(ignore, ""); err != nil {
			return fmt.Errorf("--ignore-path %q: %w", ignore, err)
		}
	}
	return nil
}
