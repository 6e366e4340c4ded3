package layer

import (
	"errors"
	"fmt"
	"strings"
)

// place returns the node for the path p, making implied parents as needed.
func (m *merger) place(p string, kind nameKind) (nodeID, error) {
	if p == "" {
		return rootID, nil
	}
	dir, base := splitPath(p)
	dirID, err := m.directory(dir)
	if err != nil {
		return noNode, err
	}
	real := m.nodes[dirID].entry.Path
	if real != dir {
		p = joinPath(real, base)
		if kind, _, err := parseName(p); err != nil || kind != plainName {
			return noNode, errBadWhiteout
		}
	}
	if len(p) > maxPath {
		return noNode, errTooLong
	}
	if id, ok := m.byPath[p]; ok {
		if kind != opaqueName || m.nodes[id].entry.Type != Symlink {
			return id, nil
		}
		// The marker lies in the directory that the link points to.
		return m.directory(p)
	}
	if err := m.limits.addNode(); err != nil {
		return noNode, err
	}
	return m.newNode(p, dirID), nil
}

var errNotDirectory = errors.New("lies below what is no directory")

// directory returns the node of the directory that p means.
func (m *merger) directory(p string) (nodeID, error) {
	if p == m.lastDir {
		return m.lastDirID, nil
	}
	real, err := m.resolve(p)
	if err != nil {
		return noNode, err
	}
	id, err := m.imply(real)
	if err != nil {
		return noNode, err
	}
	m.lastDir, m.lastDirID = p, id
	return id, nil
}

// imply makes the directory p and its parents where there is nothing yet.
func (m *merger) imply(p string) (nodeID, error) {
	if p == "" {
		return rootID, nil
	}
	if id, ok := m.byPath[p]; ok {
		m.nodes[id].implied = true
		return id, nil
	}
	dir, _ := splitPath(p)
	parent, err := m.imply(dir)
	if err != nil {
		return noNode, err
	}
	if err := m.limits.addNode(); err != nil {
		return noNode, err
	}
	id := m.newNode(p, parent)
	m.nodes[id].implied = true
	return id, nil
}

// maxLinks is how many symbolic links one path may lead through, as in Linux (MAXSYMLINKS).
const maxLinks = 40

// resolve returns the real path of the directory p, which need not exist: p with the
// symbolic links of this layer followed.
func (m *merger) resolve(p string) (string, error) {
	// Nearly always there is none, and the directory or its parent is known.
	if id, ok := m.byPath[p]; ok && m.isDirectory(id) {
		return p, nil
	}
	var done string // resolved
	rest := p
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch part {
		case "", ".":
			continue
		case "..":
			if done == "" {
				return "", errClimbsByLink
			}
			done, _ = splitPath(done)
			continue
		}
		next := joinPath(done, part)
		if len(next) > maxPath {
			return "", errTooLong
		}
		id, ok := m.byPath[next]
		switch {
		case !ok || m.isDirectory(id):
			done = next
			continue
		case m.linkOf(id) == "":
			return "", fmt.Errorf("%w: %q", errNotDirectory, next)
		}
		if links++; links > maxLinks {
			return "", errors.New("leads through too many symbolic links")
		}
		target := m.linkOf(id)
		if strings.HasPrefix(target, "/") {
			done = ""
		}
		rest = joinPath(target, rest)
	}
	return done, nil
}

// isDirectory reports whether id is a directory, or free to become one.
func (m *merger) isDirectory(id nodeID) bool {
	t := m.nodes[id].entry.Type
	return t == Directory || t == 0
}

// linkOf returns the target of a symbolic link, "" if id is none.
func (m *merger) linkOf(id nodeID) string {
	n := &m.nodes[id]
	if n.inode != noNode {
		n = &m.nodes[n.inode]
	}
	if n.entry.Type != Symlink {
		return ""
	}
	return n.entry.Link
}

// below reports whether id is top or below it.
func (m *merger) below(id, top nodeID) bool {
	for ; id != noNode; id = m.nodes[id].parent {
		if id == top {
			return true
		}
	}
	return false
}
