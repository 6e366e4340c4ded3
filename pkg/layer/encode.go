package layer

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// The serialised form of an index is a magic number with the version in its last byte,
// followed by one zstd frame holding:
//
//	flags     uvarint      contentsFlag if extents follow
//	count     uvarint
//	entries   count times, in tree order:
//	  type      byte
//	  fields    byte         which of the optional fields below are there
//	  shared    uvarint      length of the prefix shared with the path before
//	  path      string       the rest of the path
//	  mode      uvarint
//	  uid, gid  uvarint
//	  mtime     varint       seconds since 1970, as difference to the entry before
//	  nanos     uvarint      optional
//	  size      uvarint      optional
//	  link      string       optional
//	  device    2 × uvarint  optional
//	  xattrs    uvarint n, then n × (name string, value string), optional
//	  sum       32 bytes     optional
//	tar size  uvarint      only with contentsFlag
//	extents   per Regular entry: varint offset, as difference to the one before, times two,
//	          plus one if sparse; only with contentsFlag
//
// where a string is a uvarint length and its bytes.
const indexMagic = "slipway-index\x01"

const contentsFlag = 1

// Bits of an entry's fields byte.
const (
	hasNanos = 1 << iota
	hasSize
	hasLink
	hasDevice
	hasXattrs
	hasSum
	isOpaque
)

// MarshalBinary implements encoding.BinaryMarshaler. Equal indexes give equal bytes within
// one release of Slipway; every release reads what earlier ones wrote, or gives an
// error. [DecodeIndex] is the way back.
func (x *Index) MarshalBinary() ([]byte, error) { return encodeIndex(x, nil) }

// encodeIndex serialises x and, unless it is nil, where the contents lie.
func encodeIndex(x *Index, c *extents) ([]byte, error) {
	w := make([]byte, 0, 64*x.Len()+16)
	w = binary.AppendUvarint(w, boolBit(c != nil, contentsFlag))
	w = binary.AppendUvarint(w, uint64(x.Len()))
	var before Entry
	for e := range x.All() {
		w = appendEntry(w, e, &before)
		before = *e
	}
	if c != nil {
		w = appendExtents(w, x, c)
	}
	enc, err := indexEncoder()
	if err != nil {
		return nil, fmt.Errorf("layer index: %w", err)
	}
	return enc.EncodeAll(w, []byte(indexMagic)), nil
}

// indexEncoder is safe for concurrent use of EncodeAll.
var indexEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(true))
})

func appendEntry(w []byte, e, before *Entry) []byte {
	sec, nsec := e.ModTime.Unix(), e.ModTime.Nanosecond()
	fields := boolBit(nsec != 0, hasNanos) |
		boolBit(e.Size != 0, hasSize) |
		boolBit(e.Link != "", hasLink) |
		boolBit(e.Major != 0 || e.Minor != 0, hasDevice) |
		boolBit(len(e.Xattrs) > 0, hasXattrs) |
		boolBit(!e.Sum.IsZero(), hasSum) |
		boolBit(e.Opaque, isOpaque)
	w = append(w, byte(e.Type), byte(fields))
	shared := sharedPrefix(before.Path, e.Path)
	w = binary.AppendUvarint(w, uint64(shared))
	w = appendString(w, e.Path[shared:])
	w = binary.AppendUvarint(w, uint64(e.Mode))
	w = binary.AppendUvarint(w, uint64(e.UID))
	w = binary.AppendUvarint(w, uint64(e.GID))
	w = binary.AppendVarint(w, sec-before.ModTime.Unix())
	if fields&hasNanos != 0 {
		w = binary.AppendUvarint(w, uint64(nsec))
	}
	if fields&hasSize != 0 {
		w = binary.AppendUvarint(w, uint64(e.Size))
	}
	if fields&hasLink != 0 {
		w = appendString(w, e.Link)
	}
	if fields&hasDevice != 0 {
		w = binary.AppendUvarint(w, uint64(e.Major))
		w = binary.AppendUvarint(w, uint64(e.Minor))
	}
	if fields&hasXattrs != 0 {
		w = binary.AppendUvarint(w, uint64(len(e.Xattrs)))
		for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
			w = appendString(w, name)
			w = appendString(w, e.Xattrs[name])
		}
	}
	if fields&hasSum != 0 {
		w = append(w, e.Sum[:]...)
	}
	return w
}

func appendExtents(w []byte, x *Index, c *extents) []byte {
	w = binary.AppendUvarint(w, uint64(c.tarSize))
	var before int64
	for i := range x.Len() {
		if x.At(i).Type != Regular {
			continue
		}
		at := c.at[i]
		w = binary.AppendVarint(w, (at.offset-before)*2+int64(boolBit(at.sparse, 1)))
		before = at.offset
	}
	return w
}

func appendString(w []byte, s string) []byte {
	w = binary.AppendUvarint(w, uint64(len(s)))
	return append(w, s...)
}

func sharedPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func boolBit(b bool, bit uint64) uint64 {
	if b {
		return bit
	}
	return 0
}
