package build

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// product is the root filesystem of an image, and what is known about its layers.
type product struct {
	tree *tree.Tree
	info []image.LayerInfo
}

// shape gives the trees of the images the layers that were asked for: without what is at --ignore-path,
// and with --single-snapshot in one. Layers of base images stay as they are.
func (s *session) shape(ctx context.Context, trees []*tree.Tree) ([]product, error) {
	products, ignored := make([]product, len(trees)), ignoring(s.IgnorePaths)
	for i, t := range trees {
		products[i].tree = t
		if len(s.IgnorePaths) == 0 && !s.SingleLayer {
			continue
		}
		parts, err := without(ctx, t.Layers(), ignored)
		if err == nil && s.SingleLayer {
			parts, err = squash(ctx, parts)
		}
		if err != nil {
			return nil, err
		}
		products[i] = joined(parts)
	}
	return products, nil
}

// part is a layer and when it was made: what is made of layers out of the cache is as old as these, so that an image
// has one digest whether its steps were found or executed. The time is zero for layers of this build.
type part struct {
	layer layer.Layer
	made  time.Time
}

func joined(parts []part) product {
	layers, info := make([]layer.Layer, len(parts)), make([]image.LayerInfo, len(parts))
	for i, p := range parts {
		layers[i], info[i].Created = p.layer, p.made
	}
	return product{tree.New(layers...), info}
}

// without leaves out what ignored reports.
func without(ctx context.Context, layers []layer.Layer, ignored func(path string) bool) ([]part, error) {
	parts := make([]part, len(layers))
	for i, l := range layers {
		parts[i].layer = l
		if layer.IsBase(l) {
			continue
		}
		if made, ok := l.(layer.Made); ok {
			parts[i].made = made.Making().Created
		}
		var err error
		if parts[i].layer, err = layer.Without(ctx, l, ignored); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// squash makes one layer of each run of new ones. It is as old as the last that was made of them.
func squash(ctx context.Context, parts []part) ([]part, error) {
	var (
		out []part
		run []layer.Layer
		age time.Time
	)
	end := func() error {
		if len(run) == 0 {
			return nil
		}
		l, err := layer.Squash(ctx, run)
		out, run = append(out, part{l, age}), nil
		return err
	}
	for _, p := range parts {
		if layer.IsBase(p.layer) {
			if err := end(); err != nil {
				return nil, err
			}
			out = append(out, p)
			continue
		}
		switch {
		case len(run) == 0:
			age = p.made
		case age.IsZero() || p.made.IsZero(): // this build is later than all others
			age = time.Time{}
		case p.made.After(age):
			age = p.made
		}
		run = append(run, p.layer)
	}
	return out, end()
}

// ignoring returns what reports whether the path of a layer is at or below one of paths. Each part of these may be a
// pattern, as with Kaniko.
func ignoring(paths []string) func(path string) bool {
	ignored := make([][]string, len(paths))
	for i, p := range paths {
		ignored[i] = strings.Split(strings.Trim(path.Clean("/"+p), "/"), "/")
	}
	return func(p string) bool {
		parts := strings.Split(p, "/")
		return slices.ContainsFunc(ignored, func(patterns []string) bool {
			return len(patterns) <= len(parts) && matchAll(patterns, parts)
		})
	}
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
