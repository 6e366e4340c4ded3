package tree

import (
	"fmt"
	"path"
	"strings"
)

// Glob returns the paths that match pattern, in tree order and in the form of
// layer.Entry.Path, as COPY and ADD find their sources:
//
//   - pattern is cleaned lexically, so ".." in it does not look at the tree.
//   - Without any of *, ? and [ it is returned as it is, whether or not it exists.
//   - The directory before the first component with a wildcard is resolved with symbolic
//     links; if it does not exist, that is an error that matches fs.ErrNotExist.
//   - From there on each component is matched by the rules of path.Match, and links are
//     matched but not followed.
//
// A malformed pattern is an error that matches path.ErrBadPattern.
func (v *View) Glob(pattern string) ([]string, error) {
	literal, wild := splitPattern(pattern)
	if len(wild) == 0 {
		return []string{literal}, nil
	}
	for _, w := range wild {
		if _, err := path.Match(w, ""); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", pattern, err)
		}
	}
	dir, n, err := v.Resolve(literal, true)
	if err != nil {
		return nil, err
	}
	return glob(nil, dir, n, wild)
}

// splitPattern cleans a pattern and cuts it before the first component with a wildcard.
func splitPattern(pattern string) (literal string, wild []string) {
	clean := strings.TrimPrefix(path.Join("/", pattern), "/")
	parts := strings.Split(clean, "/")
	for i, p := range parts {
		if hasWildcard(p) {
			return strings.Join(parts[:i], "/"), parts[i:]
		}
	}
	return clean, nil
}

func hasWildcard(component string) bool {
	for i := 0; i < len(component); i++ {
		switch component[i] {
		case '*', '?', '[':
			return true
		case '\\':
			i++
		}
	}
	return false
}

// glob appends to found what matches the components below the directory n at dir.
func glob(found []string, dir string, n *Node, components []string) ([]string, error) {
	for c := range n.Children() {
		ok, err := path.Match(components[0], c.name)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", components[0], err)
		}
		if !ok {
			continue
		}
		p := childPath(dir, c)
		if len(components) == 1 {
			found = append(found, p)
			continue
		}
		if found, err = glob(found, p, c, components[1:]); err != nil {
			return nil, err
		}
	}
	return found, nil
}
