package layer

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// maxPath is the longest path or link target in bytes: PATH_MAX of Linux without the final
// zero byte. Nobody could unpack a longer one.
const maxPath = 4095

var (
	errClimbs       = errors.New("climbs out of the root")
	errClimbsByLink = errors.New("climbs out through a symlink")
	errTooLong      = fmt.Errorf("is longer than %d bytes", maxPath)
)

// cleanName brings a name of a tar into the form of Entry.Path. Leading "/" and "./" mean
// nothing; ".." is resolved by the letter, and one that goes above the root is an error.
func cleanName(name string) (string, error) {
	if len(name) > maxPath {
		return "", errTooLong
	}
	// The usual case, already clean or a directory's "a/b/", costs no allocation.
	p := path.Clean(strings.TrimLeft(name, "/"))
	switch {
	case p == ".":
		return "", nil
	case p == ".." || strings.HasPrefix(p, "../"):
		return "", errClimbs
	}
	return p, nil
}

// splitPath returns the parent and base name of a path in the form of Entry.Path.
func splitPath(p string) (dir, base string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return "", p
}

// joinPath is the inverse of splitPath.
func joinPath(dir, base string) string {
	if dir == "" {
		return base
	}
	return dir + "/" + base
}
