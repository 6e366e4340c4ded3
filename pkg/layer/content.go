package layer

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// contentVersion begins what ContentDigest hashes, and changes with it.
const contentVersion = "slipway layer content v1\x00"

// ContentDigest is a digest of everything that the index says except times: of a layer that is made
// again, it is the same. All sums have to be known, as they are once the layer is written.
func (x *Index) ContentDigest() (Sum, error) {
	h := sha256.New()
	buf := []byte(contentVersion)
	for i := range x.entries {
		e := &x.entries[i]
		if e.Type == Regular && e.Sum.IsZero() {
			return Sum{}, fmt.Errorf("layer index: the content of %q has no sum", e.Path)
		}
		buf = e.appendContent(buf)
		h.Write(buf) // hash.Hash never fails
		buf = buf[:0]
	}
	h.Write(buf)
	return Sum(h.Sum(nil)), nil
}

// appendContent appends the fields that ContentDigest counts, each of fixed size or with its length
// before it.
func (e *Entry) appendContent(buf []byte) []byte {
	str := func(s string) {
		buf = binary.BigEndian.AppendUint64(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	str(e.Path)
	opaque := byte(0)
	if e.Opaque {
		opaque = 1
	}
	buf = append(buf, byte(e.Type), opaque)
	buf = binary.BigEndian.AppendUint16(buf, e.Mode)
	for _, n := range []uint32{e.UID, e.GID, e.Major, e.Minor} {
		buf = binary.BigEndian.AppendUint32(buf, n)
	}
	str(e.Link)
	buf = binary.BigEndian.AppendUint64(buf, uint64(len(e.Xattrs)))
	if len(e.Xattrs) > 0 {
		for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
			str(name)
			str(e.Xattrs[name])
		}
	}
	return append(buf, e.Sum[:]...)
}

// WithTimesOf returns x with the modification times that y has for the same paths.
func (x *Index) WithTimesOf(y *Index) *Index {
	entries := slices.Clone(x.entries)
	for i := range entries {
		if j, ok := y.Find(entries[i].Path); ok {
			entries[i].ModTime = y.entries[j].ModTime
		}
	}
	return &Index{entries: entries}
}
