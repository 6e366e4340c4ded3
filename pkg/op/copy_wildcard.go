package op

import (
	"context"
	"path"
	"strings"
)

// sourcePaths resolves the wildcards of a copy's source, in the order of BuildKit: depth first,
// names sorted. The paths are relative to the root if they come from a wildcard.
func sourcePaths(ctx context.Context, src *draft, c *Copy) ([]string, error) {
	p := cleanPath(c.Src)
	if !c.AllowWildcard {
		return []string{p}, nil
	}
	literal, pattern := splitWildcards(p)
	if pattern == "" {
		return []string{literal}, nil
	}
	base, err := src.sourcePath(literal, c.FollowSymlink)
	if err != nil {
		return nil, err
	}
	dir, err := src.lstat(base)
	if err != nil {
		return nil, notFound(literal, err)
	}
	g := globber{src: src, pattern: pattern, base: strings.TrimPrefix(base, "/"), depth: maxDepth(pattern)}
	err = g.walk(ctx, dir, "", 1)
	return g.matches, err
}

// cleanPath makes p absolute and clean, but keeps a final slash and a final "/.": what comes of
// a copy's destination depends on them.
func cleanPath(p string) string {
	clean := path.Join("/", p)
	switch {
	case strings.HasSuffix(p, "/."):
		return strings.TrimSuffix(clean, "/") + "/."
	case strings.HasSuffix(p, "/") && clean != "/":
		return clean + "/"
	}
	return clean
}

// splitWildcards cuts a path before the first component that has a wildcard.
func splitWildcards(p string) (literal, pattern string) {
	components := strings.Split(path.Clean(p), "/")
	for i, c := range components {
		if hasWildcard(c) {
			return "/" + path.Join(components[:i]...), path.Join(components[i:]...)
		}
	}
	return path.Clean(p), ""
}

func hasWildcard(s string) bool {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// globber collects the paths that match a pattern. A directory that matches ends the search
// below it.
type globber struct {
	src     *draft
	pattern string
	base    string // where the search began
	depth   int
	matches []string
}

func (g *globber) walk(ctx context.Context, dir *inode, rel string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !dir.isDir() || depth > g.depth {
		return nil
	}
	for _, name := range g.src.list(dir) {
		p := path.Join(rel, name)
		// A malformed pattern matches nothing, here as in BuildKit.
		if ok, err := path.Match(g.pattern, p); ok && err == nil {
			g.matches = append(g.matches, path.Join(g.base, p))
			continue
		}
		if err := g.walk(ctx, g.src.child(dir, name), p, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// maxDepth is the number of components that a path can have that matches the pattern. A
// character class can match a slash.
func maxDepth(pattern string) int {
	return 1 + strings.Count(pattern, "/") + strings.Count(pattern, "[")
}
