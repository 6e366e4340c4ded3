package layer

import (
	"errors"
	"fmt"
)

var errSelfLink = errors.New("is a hard link to itself")

// link finds what a new hard link at node id shares: the node that holds the inode, or
// noNode if this layer has none so far. The path is that of the target, with symbolic links in its
// parents followed.
func (m *merger) link(id nodeID, target string) (string, nodeID, error) {
	for range maxLinks {
		var err error
		if target, err = m.resolveTarget(target); err != nil {
			return "", noNode, err
		}
		named, ok := m.byPath[target]
		if !ok {
			return target, noNode, nil
		}
		if m.below(named, id) {
			return "", noNode, errSelfLink
		}
		inode, err := m.inodeOf(named)
		if err != nil || inode == noNode || m.nodes[inode].entry.Type != Hardlink {
			return target, inode, err
		}
		// The target is itself a link whose target has not been seen.
		target = m.nodes[inode].entry.Link
	}
	return "", noNode, errors.New("is a hard link through too many hard links")
}

// resolveTarget follows the symbolic links in a hard link's parents.
func (m *merger) resolveTarget(target string) (string, error) {
	dir, base := splitPath(target)
	real, err := m.resolve(dir)
	if errors.Is(err, errNotDirectory) {
		return target, nil // then it is in a lower layer, if anywhere
	}
	if err != nil {
		return "", fmt.Errorf("is a hard link to %q, which %w", target, err)
	}
	return joinPath(real, base), nil
}

// inodeOf returns the node that holds the inode of id: noNode if there is only a whiteout.
func (m *merger) inodeOf(id nodeID) (nodeID, error) {
	n := &m.nodes[id]
	switch {
	case n.entry.Type == Directory || n.implied || id == rootID:
		return noNode, fmt.Errorf("is a hard link to the directory %q", n.entry.Path)
	case n.entry.Type == 0:
		return noNode, nil
	case n.inode != noNode:
		return n.inode, nil
	}
	return id, nil
}

// resolveForward finds the targets that came later than the hard links to them. Going
// backwards, the target of a link has been dealt with before the link itself.
func (m *merger) resolveForward() error {
	for i := len(m.forward) - 1; i >= 0; i-- {
		id := m.forward[i]
		n := &m.nodes[id]
		target, ok := m.byPath[n.entry.Link]
		if !ok {
			continue
		}
		inode, err := m.inodeOf(target)
		if err == nil && inode == id {
			err = errSelfLink
		}
		switch {
		case err != nil && n.gone:
		case err != nil:
			return fmt.Errorf("%q %w", n.entry.Path, err)
		case inode == noNode:
		case m.nodes[inode].entry.Type == Hardlink:
			n.entry.Link = m.nodes[inode].entry.Link
		default:
			n.inode = inode
			m.nodes[inode].shared = true
		}
	}
	return nil
}

// nameInodes gives every inode with several names to the first of them in tree order: that one
// has the type, metadata and content, the others are hard links to it. So the index does
// not depend on the order of the tar, and is the one of the tar that WriteTar makes. Names
// that have been replaced do not count, so that an inode may pass to a hard link.
func (m *merger) nameInodes() {
	owners := map[nodeID]nodeID{}
	for id, inode := range m.linked() {
		owner, ok := owners[inode]
		if !ok || ComparePaths(m.nodes[id].entry.Path, m.nodes[owner].entry.Path) < 0 {
			owners[inode] = id
		}
	}
	inodes := make(map[nodeID]node, len(owners))
	for inode := range owners {
		inodes[inode] = m.nodes[inode]
	}
	for id, inode := range m.linked() {
		n, held := &m.nodes[id], inodes[inode]
		p := n.entry.Path
		if owner := owners[inode]; owner == id {
			n.entry, n.at = held.entry, held.at
		} else {
			n.entry, n.at = hardlinkTo(&held.entry, m.nodes[owner].entry.Path), extent{}
		}
		n.entry.Path = p
	}
}

// linked yields all names of inodes that have, or had, several, each with its inode's node.
func (m *merger) linked() func(yield func(id, inode nodeID) bool) {
	return func(yield func(id, inode nodeID) bool) {
		for i := range m.nodes {
			id, n := nodeID(i), &m.nodes[i]
			if n.gone || n.hidden || !n.shared && n.inode == noNode {
				continue
			}
			inode := n.inode
			if inode == noNode {
				inode = id
			}
			if !yield(id, inode) {
				return
			}
		}
	}
}

// hardlinkTo is a further name of the inode that e describes. It repeats what tars repeat.
func hardlinkTo(e *Entry, target string) Entry {
	return Entry{Type: Hardlink, Link: target, Mode: e.Mode, UID: e.UID, GID: e.GID, ModTime: e.ModTime}
}
