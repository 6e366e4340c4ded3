package layer

import (
	"errors"
	"slices"
	"time"
)

// merger turns the entries of a tar, in the order of the tar, into an index, by the rules that
// ReadTar states.
type merger struct {
	nodes  []node
	byPath map[string]nodeID
	limits limits

	// Consecutive entries mostly lie in the same directory.
	lastDir   string
	lastDirID nodeID

	// forward are hard links whose targets have not been seen.
	forward []nodeID
}

type nodeID int32

const (
	noNode nodeID = -1
	rootID nodeID = 0
)

// noDir is no path.
const noDir = "\x00"

// node is one path. A node that has been replaced stays as long as hard links need its inode.
type node struct {
	entry   Entry // Type 0: an implied directory, or only a whiteout
	at      extent
	parent  nodeID
	child   nodeID // the first; the others follow by next
	next    nodeID
	inode   nodeID // of a hard link: the node, never a hard link itself, that it shares
	shared  bool   // hard links share this node's inode
	gone    bool   // replaced
	whited  bool   // lower layers' file is deleted
	opaque  bool   // lower layers' children are deleted
	hidden  bool   // in the link store
	implied bool   // holds, or has held, other entries
}

func newMerger() *merger {
	m := &merger{byPath: map[string]nodeID{}, lastDir: noDir}
	m.newNode("", noNode)
	return m
}

func (m *merger) newNode(p string, parent nodeID) nodeID {
	id := nodeID(len(m.nodes))
	n := node{parent: parent, child: noNode, next: noNode, inode: noNode}
	n.entry.Path = p
	if parent != noNode {
		n.next = m.nodes[parent].child
		m.nodes[parent].child = id
	}
	m.nodes = append(m.nodes, n)
	m.byPath[p] = id
	return id
}

// add applies one entry; e.Path and, of a hard link, e.Link come from cleanName.
func (m *merger) add(e Entry, at extent) error {
	if err := m.limits.add(&e); err != nil {
		return err
	}
	kind, p, err := parseName(e.Path)
	if err != nil || kind == ignoredName {
		return err
	}
	id, err := m.place(p, kind)
	if err != nil {
		return err
	}
	switch {
	case kind == whiteoutName:
		m.nodes[id].whited = true
		return nil
	case kind == opaqueName:
		if !m.isDirectory(id) {
			return errNotDirectory
		}
		m.nodes[id].opaque, m.nodes[id].implied = true, true
		return nil
	case e.Type == Directory:
		return m.addDirectory(id, e, kind == hiddenName)
	case id == rootID:
		return errors.New("replaces the root by what is no directory")
	}
	return m.addOther(id, e, at, kind == hiddenName)
}

func (m *merger) addDirectory(id nodeID, e Entry, hidden bool) error {
	if !m.isDirectory(id) {
		var err error
		if id, err = m.replace(id); err != nil {
			return err
		}
	}
	n := &m.nodes[id]
	e.Path = n.entry.Path
	n.entry, n.implied, n.hidden = e, true, hidden
	return nil
}

func (m *merger) addOther(id nodeID, e Entry, at extent, hidden bool) error {
	inode := noNode
	if e.Type == Hardlink {
		var err error
		if e.Link, inode, err = m.link(id, e.Link); err != nil {
			return err
		}
	}
	if n := &m.nodes[id]; n.entry.Type != 0 || n.implied {
		var err error
		if id, err = m.replace(id); err != nil {
			return err
		}
	}
	n := &m.nodes[id]
	e.Path = n.entry.Path
	n.entry, n.at, n.hidden, n.inode = e, at, hidden, inode
	switch {
	case inode != noNode:
		m.nodes[inode].shared = true
	case e.Type == Hardlink:
		m.forward = append(m.forward, id)
	}
	return nil
}

// replace takes the node and everything below it out of the tree and returns a fresh one for
// its path. What whiteouts below it said of lower layers is dropped: nothing of
// them could be seen any more.
func (m *merger) replace(id nodeID) (nodeID, error) {
	if err := m.limits.addNode(); err != nil {
		return noNode, err
	}
	old := m.nodes[id]
	fresh := m.newNode(old.entry.Path, old.parent)
	// A directory that takes the place of a file does not merge with what lower
	// layers have there: the file has hidden it.
	m.nodes[fresh].whited = old.whited || !m.isDirectory(id)
	m.lastDir = noDir
	for stack := []nodeID{id}; len(stack) > 0; {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := &m.nodes[id]
		if n.gone {
			continue // replaced before, and its children with it
		}
		n.gone = true
		if m.byPath[n.entry.Path] == id {
			delete(m.byPath, n.entry.Path)
		}
		for c := n.child; c != noNode; c = m.nodes[c].next {
			stack = append(stack, c)
		}
	}
	return fresh, nil
}

// finish returns the entries in tree order, with the places of their contents.
func (m *merger) finish() (*Index, []extent, error) {
	if err := m.resolveForward(); err != nil {
		return nil, nil, err
	}
	m.nameInodes()
	order := make([]nodeID, 0, len(m.nodes))
	sorted := true
	for i := range m.nodes {
		if !m.settle(&m.nodes[i]) {
			continue
		}
		if n := len(order); n > 0 && ComparePaths(m.nodes[order[n-1]].entry.Path, m.nodes[i].entry.Path) > 0 {
			sorted = false
		}
		order = append(order, nodeID(i))
	}
	if !sorted {
		slices.SortFunc(order, func(a, b nodeID) int {
			return ComparePaths(m.nodes[a].entry.Path, m.nodes[b].entry.Path)
		})
	}
	entries, at := make([]Entry, len(order)), make([]extent, len(order))
	for i, id := range order {
		entries[i], at[i] = m.nodes[id].entry, m.nodes[id].at
	}
	x, err := NewIndex(entries)
	if err != nil {
		return nil, nil, err
	}
	return x, at, nil
}

// impliedDirectory is the entry of a directory that no tar mentions, where it has to be mentioned.
func impliedDirectory(path string, opaque bool) Entry {
	return Entry{Path: path, Type: Directory, Opaque: opaque, Mode: 0o755, ModTime: time.Unix(0, 0).UTC()}
}

// settle completes a node's entry and reports whether it belongs into the index.
func (m *merger) settle(n *node) bool {
	if n.gone || n.hidden {
		return false
	}
	e := &n.entry
	switch {
	case e.Type == Directory:
		e.Opaque = n.opaque || n.whited
	case e.Type != 0:
	case n.implied && (n.opaque || n.whited):
		*e = impliedDirectory(e.Path, true)
	case n.whited:
		*e = whiteout(e.Path)
	default:
		return false
	}
	return true
}
