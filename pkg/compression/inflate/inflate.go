// Package inflate decompresses DEFLATE (RFC 1951) and gzip (RFC 1952), about twice as fast as the libraries for Go: it reads
// eight bytes at a time, decodes with tables that give a symbol together with the number of its extra bits, and passes
// on what it has decompressed without copying it.
package inflate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// window is how far back a match may begin, in bytes.
	window = 32 << 10
	// slack is how much is written at most before it is looked whether there is room: two literals and a match, and what its
	// copying in words writes behind it.
	slack = 258 + 32
	// outSize is what is decompressed at a time, in bytes, beside the window.
	outSize = 256 << 10
	// inSize is what is read at a time, in bytes.
	inSize = 128 << 10
)

// ErrCorrupt is what errors match that mean that the input is not DEFLATE or gzip.
var ErrCorrupt = errors.New("corrupt input")

func corrupt(what string) error { return fmt.Errorf("%w: %s", ErrCorrupt, what) }

// state is what comes next in the input.
type state uint8

const (
	header state = iota
	stored
	coded
	done
)

// decoder decompresses one stream of DEFLATE after the other. Bits that have been read from in and not been used are the
// lowest n of bits; what is above them is either zero or what is next in in.
type decoder struct {
	src     io.Reader
	in      []byte // read, of which pos is the next
	pos     int
	readErr error // what src ended with
	bits    uint64
	n       uint64

	out   []byte
	given int // in out, what has been given out
	w     int // in out, what has been decompressed
	from  int // in out, where a match may begin at the earliest

	err   error
	state state
	last  bool // the block is the stream's last
	left  int  // of a stored block, in bytes

	alphabets *alphabets
	lit       [litSize]entry
	dist      [distSize]entry
}

func newDecoder(src io.Reader) *decoder {
	return &decoder{src: src, in: make([]byte, 0, inSize), out: make([]byte, window+outSize+slack), alphabets: newAlphabets()}
}

// next returns the next bytes of the stream, which are valid until the next call; none and io.EOF at its end, when the input stands at
// the byte behind the stream. What comes before an error is given out first.
func (d *decoder) next() ([]byte, error) {
	d.slide()
	for d.w <= len(d.out)-slack && d.state != done && d.err == nil {
		d.err = d.step()
	}
	out := d.out[d.given:d.w]
	d.given = d.w
	switch {
	case len(out) > 0:
		return out, nil // before an error
	case d.err != nil:
		return nil, d.err
	default:
		return nil, io.EOF
	}
}

// slide makes room behind the window, of what has been given out.
func (d *decoder) slide() {
	if d.w <= len(d.out)-slack {
		return
	}
	by := d.w - window
	copy(d.out, d.out[by:d.w])
	d.given, d.w, d.from = window, window, max(0, d.from-by)
}

// restart makes ready for another stream at the place where the input stands.
func (d *decoder) restart() {
	d.state, d.last, d.from = header, false, d.w
}

// step decompresses something.
func (d *decoder) step() error {
	switch d.state {
	case header:
		return d.header()
	case stored:
		return d.stored()
	default:
		return d.symbols()
	}
}

// endBlock goes on behind a block.
func (d *decoder) endBlock() {
	d.state = header
	if d.last {
		d.state = done
		d.align()
	}
}

// align drops the rest of the byte of which bits have been used, and gives those back that have not been.
func (d *decoder) align() {
	d.pos -= int(d.n >> 3)
	d.bits, d.n = 0, 0
}

// fill sees to it that at least size bytes are in in behind pos, or the input is at its end.
func (d *decoder) fill(size int) {
	if len(d.in)-d.pos >= size || d.readErr != nil {
		return
	}
	// The bits that have been read and not been used may have to be given back.
	keep := d.pos - int(d.n>>3)
	d.in = d.in[:copy(d.in, d.in[keep:])]
	d.pos -= keep
	for len(d.in)-d.pos < size && d.readErr == nil {
		var n int
		n, d.readErr = d.src.Read(d.in[len(d.in):cap(d.in)])
		d.in = d.in[:len(d.in)+n]
	}
}

// short is the error for input that ends too early.
func (d *decoder) short() error {
	if d.readErr == nil || d.readErr == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return d.readErr
}

// refill sees to it that at least size bits are there, which is at most 56, or the input is at its end.
func (d *decoder) refill(size uint64) {
	if d.n >= size {
		return
	}
	d.fill(8)
	d.bits &= 1<<d.n - 1
	for d.n < 56 && d.pos < len(d.in) {
		d.bits |= uint64(d.in[d.pos]) << d.n
		d.pos++
		d.n += 8
	}
}

// take uses size bits, at most 16.
func (d *decoder) take(size uint64) (int, error) {
	d.refill(size)
	if d.n < size {
		return 0, d.short()
	}
	v := d.bits & (1<<size - 1)
	d.bits >>= size
	d.n -= size
	return int(v), nil
}

// stored copies a part of a block that is not compressed.
func (d *decoder) stored() error {
	d.fill(1)
	n := min(d.left, len(d.in)-d.pos, len(d.out)-d.w)
	if n == 0 && d.left > 0 {
		return d.short()
	}
	copy(d.out[d.w:], d.in[d.pos:d.pos+n])
	d.w += n
	d.pos += n
	if d.left -= n; d.left == 0 {
		d.endBlock()
	}
	return nil
}

// symbols decompresses a part of a block: as much as there is input for and room.
func (d *decoder) symbols() error {
	d.fill(minIn)
	ended, err := d.fast()
	if err != nil {
		return err
	}
	if !ended && len(d.in)-d.pos < minIn && d.readErr != nil && d.w <= len(d.out)-slack {
		ended, err = d.slow()
	}
	if ended {
		d.endBlock()
	}
	return err
}

// minIn is how much input there must be for fast, in bytes: what it reads in one turn.
const minIn = 16

// fast decodes while there is enough input and room that it need not look in between. It returns whether the block ended.
func (d *decoder) fast() (ended bool, err error) {
	in, out := d.in, d.out
	pos, w, b, n := d.pos, d.w, d.bits, d.n
	lit, dist := &d.lit, &d.dist
	lastIn, lastOut := len(in)-minIn, len(out)-slack
loop:
	for pos <= lastIn && w <= lastOut {
		b |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
		pos += int((63 - n) >> 3)
		n |= 56
		e := lit[b&(1<<litBits-1)]
		// Three codes found at once have 33 bits at most.
		if e&literal != 0 {
			out[w] = byte(e >> 16)
			w++
			b >>= e & 63
			n -= uint64(e & 63)
			e = lit[b&(1<<litBits-1)]
			if e&literal != 0 {
				out[w] = byte(e >> 16)
				w++
				b >>= e & 63
				n -= uint64(e & 63)
				e = lit[b&(1<<litBits-1)]
				if e&literal != 0 {
					out[w] = byte(e >> 16)
					w++
					b >>= e & 63
					n -= uint64(e & 63)
					continue
				}
			}
		}
		if e&special != 0 {
			if e&goesOn != 0 {
				b >>= litBits
				n -= litBits
				e = lit[int(e>>16)+int(b&(1<<(e>>8&15)-1))]
				if e&literal != 0 {
					out[w] = byte(e >> 16)
					w++
					b >>= e & 63
					n -= uint64(e & 63)
					continue
				}
			}
			if e&special != 0 {
				ended = e&endOfBlock != 0
				if !ended {
					err = corrupt("no such code")
				}
				b >>= e & 63
				n -= uint64(e & 63)
				break loop
			}
		}
		length := int(e>>16) + e.extra(b)
		b >>= e & 63
		n -= uint64(e & 63)

		if n < 28 { // what a distance can have
			b |= binary.LittleEndian.Uint64(in[pos:]) << (n & 63)
			pos += int((63 - n) >> 3)
			n |= 56
		}
		e = dist[b&(1<<distBits-1)]
		if e&special != 0 {
			if e&goesOn != 0 {
				b >>= distBits
				n -= distBits
				e = dist[int(e>>16)+int(b&(1<<(e>>8&15)-1))]
			}
			if e&special != 0 {
				err = corrupt("no such code")
				break loop
			}
		}
		distance := int(e>>16) + e.extra(b)
		b >>= e & 63
		n -= uint64(e & 63)
		from := w - distance
		if from < d.from {
			err = corrupt("a match begins before the stream")
			break loop
		}
		switch {
		case distance >= 8:
			// Most matches have up to 16 bytes. What is written behind a match is written again.
			to := out[w : w+length+16]
			src := out[from : from+length+16]
			binary.LittleEndian.PutUint64(to, binary.LittleEndian.Uint64(src))
			binary.LittleEndian.PutUint64(to[8:], binary.LittleEndian.Uint64(src[8:]))
			for i := 16; i < length; i += 8 {
				binary.LittleEndian.PutUint64(to[i:], binary.LittleEndian.Uint64(src[i:]))
			}
		default:
			to := out[w : w+length]
			src := out[from : from+length]
			for i := range to {
				to[i] = src[i]
			}
		}
		w += length
	}
	d.pos, d.w, d.bits, d.n = pos, w, b, n
	return ended, err
}

// slow decodes one symbol at the end of the input. It returns whether the block ended.
func (d *decoder) slow() (ended bool, err error) {
	e, err := d.lookup(d.lit[:], litBits)
	switch {
	case err != nil:
		return false, err
	case e&literal != 0:
		d.out[d.w] = byte(e >> 16)
		d.w++
		return false, nil
	case e&special != 0:
		return true, nil
	}
	length := e >> 16
	e, err = d.lookup(d.dist[:], distBits)
	if err != nil {
		return false, err
	}
	from := d.w - int(e>>16)
	if from < d.from {
		return false, corrupt("a match begins before the stream")
	}
	for i := range int(length) {
		d.out[d.w] = d.out[from+i]
		d.w++
	}
	return false, nil
}

// lookup uses a code and its extra bits and returns what it stands for, with the value complete.
func (d *decoder) lookup(table []entry, first int) (entry, error) {
	d.refill(56)
	e := table[d.bits&(1<<first-1)]
	used := uint64(0)
	b := d.bits
	if e&(special|goesOn) == special|goesOn {
		used = uint64(first)
		b >>= used
		e = table[int(e>>16)+int(b&(1<<(e>>8&15)-1))]
	}
	if e&special != 0 && e&endOfBlock == 0 {
		if d.n < maxBits {
			return 0, d.short()
		}
		return 0, corrupt("no such code")
	}
	used += uint64(e & 63)
	if used > d.n {
		return 0, d.short()
	}
	d.bits >>= used
	d.n -= used
	if e&(literal|special) == 0 {
		e = entry(int(e>>16)+e.extra(b)) << 16
	}
	return e, nil
}
