package op

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/patternmatcher"
)

// selection is what a copy takes from its source: the same for the cache key and for the copy
// itself.
type selection []match

// match is one source path, after wildcards.
type match struct {
	path string // names the copy, if it is put into a directory
	root *pick
}

// pick is a file that is copied, with what is copied of its children.
type pick struct {
	name string
	ino  *inode
	// passage marks a directory that no pattern selects, but something below it.
	passage bool
	below   []*pick
}

// selectSources finds what c copies of src. A path without wildcards that does not exist, and a
// missing required path, are a [NotFoundError]. No match at all is an empty selection.
func selectSources(ctx context.Context, src *draft, c *Copy) (selection, error) {
	paths, err := sourcePaths(ctx, src, c)
	if err != nil {
		return nil, err
	}
	p := picker{src: src}
	if p.include, err = newMatcher("include", c.Include); err != nil {
		return nil, err
	}
	if p.exclude, err = newMatcher("exclude", c.Exclude); err != nil {
		return nil, err
	}
	sel := make(selection, 0, len(paths))
	for _, s := range paths {
		resolved, err := src.sourcePath(s, c.FollowSymlink)
		if err != nil {
			return nil, err
		}
		ino, err := src.lstat(resolved)
		if err != nil {
			return nil, notFound(s, err)
		}
		root := &pick{ino: ino}
		if ino.isDir() {
			if err := p.children(ctx, root, "", patternmatcher.MatchInfo{}, patternmatcher.MatchInfo{}); err != nil {
				return nil, err
			}
		}
		sel = append(sel, match{path: s, root: root})
	}
	return sel, sel.require(c)
}

// require checks the required paths, as BuildKit does: each must be a prefix of the path of
// something selected. Without wildcards and patterns they say nothing new.
func (sel selection) require(c *Copy) error {
	filtered := len(c.Include) > 0 || len(c.Exclude) > 0 || c.AllowWildcard && hasWildcard(c.Src)
	if !filtered {
		return nil
	}
	missing := slices.Clone(c.RequiredPaths)
	for _, m := range sel {
		m.root.walk(path.Join("/", m.path), func(p string, _ *pick) {
			missing = slices.DeleteFunc(missing, func(required string) bool { return strings.HasPrefix(p, required) })
		})
	}
	if len(missing) > 0 {
		return &NotFoundError{Path: missing[0]}
	}
	return nil
}

// walk calls f for p and everything below it, in tree order.
func (p *pick) walk(at string, f func(at string, p *pick)) {
	f(at, p)
	for _, c := range p.below {
		c.walk(path.Join(at, c.name), f)
	}
}

// picker applies include and exclude patterns.
type picker struct {
	src              *draft
	include, exclude *patternmatcher.PatternMatcher // nil without patterns
}

func newMatcher(kind string, patterns []string) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, fmt.Errorf("invalid %s patterns %q: %w", kind, patterns, err)
	}
	return m, nil
}

// children selects from the directory of dir, which is at rel below the copied source.
func (p *picker) children(ctx context.Context, dir *pick, rel string, inc, exc patternmatcher.MatchInfo) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, name := range p.src.list(dir.ino) {
		c, err := p.child(ctx, p.src.child(dir.ino, name), name, path.Join(rel, name), inc, exc)
		if err != nil {
			return err
		}
		if c != nil {
			dir.below = append(dir.below, c)
		}
	}
	return nil
}

// child returns nil if neither the file nor anything below it is selected.
func (p *picker) child(ctx context.Context, ino *inode, name, rel string, inc, exc patternmatcher.MatchInfo) (*pick, error) {
	included, excluded := true, false
	var err error
	if p.include != nil {
		if included, inc, err = p.include.MatchesUsingParentResults(rel, inc); err != nil {
			return nil, fmt.Errorf("match include patterns: %w", err)
		}
	}
	if p.exclude != nil {
		if excluded, exc, err = p.exclude.MatchesUsingParentResults(rel, exc); err != nil {
			return nil, fmt.Errorf("match exclude patterns: %w", err)
		}
	}
	included = included && !excluded
	c := &pick{name: name, ino: ino, passage: !included}
	if ino.isDir() && (!excluded || p.exclude.Exclusions()) {
		if err := p.children(ctx, c, rel, inc, exc); err != nil {
			return nil, err
		}
	}
	if !included && len(c.below) == 0 {
		return nil, nil
	}
	return c, nil
}

// notFound makes the error for a source path of one of lstat.
func notFound(p string, err error) error {
	if isNotExist(err) {
		return &NotFoundError{Path: path.Join("/", p)}
	}
	return err
}
