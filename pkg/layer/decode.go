package layer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unsafe"

	"github.com/klauspost/compress/zstd"
)

// errIndexVersion says that an index was written by another version of Slipway.
var errIndexVersion = errors.New("layer index: not in the format of this version")

// Bounds on what a serialised index may make us allocate: entries and strings together may
// take memoryBase bytes plus memoryFactor times the size of the serialised form. A table of paths
// without a single file of content compresses about 60 times.
const (
	memoryBase   = 16 << 20
	memoryFactor = 1000
)

// DecodeIndex reads what Index.MarshalBinary wrote. Any other input gives an error.
func DecodeIndex(data []byte) (*Index, error) {
	x, _, err := decodeIndex(data)
	return x, err
}

// decodeIndex also returns where the contents lie, nil if data does not say.
func decodeIndex(data []byte) (*Index, *extents, error) {
	frame, ok := bytes.CutPrefix(data, []byte(indexMagic))
	if !ok {
		return nil, nil, errIndexVersion
	}
	budget := memoryBase + memoryFactor*int64(len(data))
	payload, err := inflateIndex(frame, budget)
	if err != nil {
		return nil, nil, fmt.Errorf("layer index: %w", err)
	}
	d := &indexDecoder{data: payload, budget: budget}
	x, c, err := d.decode()
	if err != nil {
		return nil, nil, fmt.Errorf("layer index: %w", err)
	}
	return x, c, nil
}

func inflateIndex(frame []byte, limit int64) ([]byte, error) {
	z, err := zstd.NewReader(bytes.NewReader(frame), zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecodeBuffersBelow(0))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	payload, err := io.ReadAll(io.LimitReader(z, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(payload)) > limit {
		return nil, errTooLarge
	}
	return payload, nil
}

var (
	errTooLarge = errors.New("table is absurdly large")
	errCorrupt  = errors.New("table is corrupt")
)

// indexDecoder reads the payload. After an error all reads give zero values, so that one
// check at the end of each entry is enough.
type indexDecoder struct {
	data   []byte
	budget int64
	err    error
}

func (d *indexDecoder) decode() (*Index, *extents, error) {
	flags := d.uvarint(contentsFlag)
	count := d.uvarint(uint64(len(d.data))) // an entry takes a byte at the very least
	d.charge(int64(count) * int64(unsafe.Sizeof(Entry{})))
	if d.err != nil {
		return nil, nil, d.err
	}
	entries := make([]Entry, count)
	var before Entry
	for i := range entries {
		d.entry(&entries[i], &before)
		if d.err != nil {
			return nil, nil, d.err
		}
		before = entries[i]
		if i > 0 && ComparePaths(entries[i-1].Path, before.Path) >= 0 {
			return nil, nil, errCorrupt
		}
	}
	x, err := NewIndex(entries)
	if err != nil {
		return nil, nil, err
	}
	var c *extents
	if flags&contentsFlag != 0 {
		c = d.extents(x)
	}
	if d.err == nil && len(d.data) > 0 {
		d.err = errCorrupt
	}
	if d.err != nil {
		return nil, nil, d.err
	}
	return x, c, nil
}

func (d *indexDecoder) entry(e, before *Entry) {
	e.Type = Type(d.byte())
	fields := uint64(d.byte())
	e.Opaque = fields&isOpaque != 0
	shared := int(d.uvarint(uint64(len(before.Path))))
	rest := d.bytes()
	d.charge(int64(shared))
	if d.err != nil {
		return
	}
	e.Path = join(before.Path[:shared], rest)
	e.Mode = uint16(d.uvarint(0o7777))
	e.UID = uint32(d.uvarint(math.MaxUint32))
	e.GID = uint32(d.uvarint(math.MaxUint32))
	sec := before.ModTime.Unix() + d.varint()
	var nsec uint64
	if fields&hasNanos != 0 {
		nsec = d.uvarint(uint64(time.Second) - 1)
	}
	e.ModTime = time.Unix(sec, int64(nsec)).UTC()
	if fields&hasSize != 0 {
		e.Size = int64(d.uvarint(math.MaxInt64))
	}
	if fields&hasLink != 0 {
		e.Link = string(d.bytes())
	}
	if fields&hasDevice != 0 {
		e.Major = uint32(d.uvarint(math.MaxUint32))
		e.Minor = uint32(d.uvarint(math.MaxUint32))
	}
	if fields&hasXattrs != 0 {
		e.Xattrs = d.xattrs()
	}
	if fields&hasSum != 0 {
		copy(e.Sum[:], d.take(len(e.Sum)))
	}
}

func (d *indexDecoder) xattrs() map[string]string {
	n := d.uvarint(math.MaxInt32)
	if n == 0 {
		d.fail(errCorrupt)
	}
	m := map[string]string{}
	for range n {
		name, value := string(d.bytes()), string(d.bytes())
		d.charge(64)
		if _, twice := m[name]; twice {
			d.fail(errCorrupt)
		}
		if d.err != nil {
			return nil
		}
		m[name] = value
	}
	return m
}

func (d *indexDecoder) extents(x *Index) *extents {
	c := &extents{tarSize: int64(d.uvarint(math.MaxInt64))}
	d.charge(int64(x.Len()) * int64(unsafe.Sizeof(extent{})))
	if d.err != nil {
		return nil
	}
	c.at = make([]extent, x.Len())
	var offset int64
	for i := range c.at {
		if x.At(i).Type != Regular {
			continue
		}
		v := d.varint()
		offset += v >> 1
		if d.err != nil || offset < 0 || offset > c.tarSize {
			d.fail(errCorrupt)
			return nil
		}
		c.at[i] = extent{offset: offset, sparse: v&1 != 0}
		if !c.at[i].sparse && x.At(i).Size > c.tarSize-offset {
			d.fail(errCorrupt)
			return nil
		}
	}
	return c
}

func (d *indexDecoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// charge takes n bytes of memory out of the budget.
func (d *indexDecoder) charge(n int64) {
	if d.budget -= n; d.budget < 0 {
		d.fail(errTooLarge)
	}
}

func (d *indexDecoder) take(n int) []byte {
	if d.err != nil || n > len(d.data) {
		d.fail(errCorrupt)
		return nil
	}
	b := d.data[:n]
	d.data = d.data[n:]
	return b
}

func (d *indexDecoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *indexDecoder) bytes() []byte {
	n := int(d.uvarint(uint64(len(d.data))))
	d.charge(int64(n))
	return d.take(n)
}

// uvarint reads a number and fails if it is above limit.
func (d *indexDecoder) uvarint(limit uint64) uint64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Uvarint(d.data)
	if n <= 0 || v > limit {
		d.fail(errCorrupt)
		return 0
	}
	d.data = d.data[n:]
	return v
}

func (d *indexDecoder) varint() int64 {
	if d.err != nil {
		return 0
	}
	v, n := binary.Varint(d.data)
	if n <= 0 {
		d.fail(errCorrupt)
		return 0
	}
	d.data = d.data[n:]
	return v
}

func join(prefix string, rest []byte) string {
	var b strings.Builder
	b.Grow(len(prefix) + len(rest))
	b.WriteString(prefix)
	b.Write(rest)
	return b.String()
}
