package tree

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-build/slipway/pkg/layer"
)

// DigestOption leaves something out of a digest. Options can be combined with |.
type DigestOption uint8

// The options of digests.
const (
	// IgnoreOwner leaves UID and GID out, for an operation that gives what it copies
	// another owner.
	IgnoreOwner DigestOption = 1 << iota

	digestModes = iota + 1 // combinations of options
)

// Selected is one path of a selection: a node, and the name by which an operation that reads
// the node knows it. It stands for the node alone, not for what is below.
type Selected struct {
	Name string
	Node *Node
}

// Digest returns a digest of what p, resolved as by [View.Lookup], and everything below it
// consists of. See [Node.Digest].
func (v *View) Digest(ctx context.Context, p string, options ...DigestOption) (layer.Sum, error) {
	n, err := v.Lookup(p)
	if err != nil {
		return layer.Sum{}, err
	}
	return n.Digest(ctx, options...)
}

// Digest returns a digest of the node and everything below it: of each its type, mode, owner
// as written in the layer, link target, device numbers, extended attributes and content, and of
// directories the names of their children. The node's own name, modification times, and which
// layers the parts come from make no difference; neither does whether files with the same
// content are hard links.
//
// Contents whose sum is not known are read, several at a time. Digests of directories are
// kept, so that asking again, also through a view that shares the directory, costs nothing.
func (n *Node) Digest(ctx context.Context, options ...DigestOption) (layer.Sum, error) {
	d := digester{option: join(options)}
	if err := loadSums(ctx, n.unsummed); err != nil {
		return layer.Sum{}, err
	}
	return d.tree(ctx, n)
}

// DigestSelection returns a digest of the names and nodes of a selection, in its order. Of each
// node it takes what [Node.Digest] takes but nothing below it, so that a copy with filters
// can be keyed by the very list that it copies from.
func DigestSelection(ctx context.Context, selection []Selected, options ...DigestOption) (layer.Sum, error) {
	d := digester{option: join(options)}
	err := loadSums(ctx, func(yield func(*Node) bool) {
		for _, s := range selection {
			if s.Node.needsSum() && !yield(s.Node) {
				return
			}
		}
	})
	if err != nil {
		return layer.Sum{}, err
	}
	d.begin(kindSelection)
	d.uint64(uint64(len(selection)))
	h := sha256.New()
	h.Write(d.buf)
	for _, s := range selection {
		sum, err := d.node(ctx, s.Node)
		if err != nil {
			return layer.Sum{}, err
		}
		d.buf = d.buf[:0]
		d.string(s.Name)
		d.buf = append(d.buf, sum[:]...)
		h.Write(d.buf)
	}
	return layer.Sum(h.Sum(nil)), nil
}

func join(options []DigestOption) DigestOption {
	var all DigestOption
	for _, o := range options {
		all |= o
	}
	return all % digestModes
}

// digestVersion begins everything that is hashed. It changes with the encoding, so that keys
// of different encodings never meet.
const digestVersion = "slipway tree digest v1\x00"

// What a hash is of. Part of its input, so that no two of them can be taken for each other.
const (
	kindNode      = 'n' // a node without what is below it
	kindTree      = 't' // a directory with everything below it
	kindSelection = 's'
)

// digester encodes and hashes. Every field has a fixed size or its length before it, so that
// different inputs have different encodings.
type digester struct {
	option DigestOption
	buf    []byte
}

func (d *digester) begin(kind byte) {
	d.buf = append(d.buf[:0], digestVersion...)
	d.buf = append(d.buf, kind, byte(d.option))
}

func (d *digester) uint32(x uint32) { d.buf = binary.BigEndian.AppendUint32(d.buf, x) }
func (d *digester) uint64(x uint64) { d.buf = binary.BigEndian.AppendUint64(d.buf, x) }

func (d *digester) string(s string) {
	d.uint64(uint64(len(s)))
	d.buf = append(d.buf, s...)
}

func (d *digester) xattrs(attrs map[string]string) {
	d.uint64(uint64(len(attrs)))
	if len(attrs) == 0 { // nearly always, and sorting nothing costs allocations
		return
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		d.string(name)
		d.string(attrs[name])
	}
}

// tree returns the digest of n with everything below it: of a directory, that of its own node
// and of its children's names and trees.
func (d *digester) tree(ctx context.Context, n *Node) (layer.Sum, error) {
	if n.dir == nil {
		return d.node(ctx, n)
	}
	if known := n.dir.digests[d.option].Load(); known != nil {
		return *known, nil
	}
	if err := ctx.Err(); err != nil {
		return layer.Sum{}, err
	}
	own, err := d.node(ctx, n)
	if err != nil {
		return layer.Sum{}, err
	}
	h := sha256.New()
	d.begin(kindTree)
	d.buf = append(d.buf, own[:]...)
	d.uint64(uint64(len(n.dir.children)))
	h.Write(d.buf)
	for _, c := range n.dir.children {
		sum, err := d.tree(ctx, c)
		if err != nil {
			return layer.Sum{}, err
		}
		d.buf = d.buf[:0]
		d.string(c.name)
		d.buf = append(d.buf, sum[:]...)
		h.Write(d.buf)
	}
	sum := layer.Sum(h.Sum(nil))
	n.dir.digests[d.option].Store(&sum)
	return sum, nil
}

// node returns the digest of n without what is below it.
func (d *digester) node(ctx context.Context, n *Node) (layer.Sum, error) {
	e := n.inode.entry
	d.begin(kindNode)
	d.buf = append(d.buf, byte(e.Type))
	d.buf = binary.BigEndian.AppendUint16(d.buf, e.Mode)
	if d.option&IgnoreOwner == 0 {
		d.uint32(e.UID)
		d.uint32(e.GID)
	}
	d.xattrs(e.Xattrs)
	switch e.Type {
	case layer.Regular:
		sum, err := n.Sum(ctx)
		if err != nil {
			return layer.Sum{}, err
		}
		d.buf = append(d.buf, sum[:]...)
	case layer.Symlink:
		d.string(e.Link)
	case layer.CharDevice, layer.BlockDevice:
		d.uint32(e.Major)
		d.uint32(e.Minor)
	case layer.Directory, layer.Fifo:
		// Nothing but what all have.
	default:
		return layer.Sum{}, fmt.Errorf("digest of %s: unexpected type %d", e.Path, e.Type)
	}
	return sha256.Sum256(d.buf), nil
}
