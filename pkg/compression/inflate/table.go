package inflate

import "math/bits"

// Codes are looked up by their first litBits or distBits bits. Longer ones go on in a table of their own, further back in
// the same array. The lengths of the arrays are the most that a complete code of 288 or 32 symbols with up to 15 bits can
// need, by zlib's examples/enough.c.
const (
	maxBits  = 15 // of a code (RFC 1951, 3.2.7)
	litBits  = 11
	distBits = 8
	litSize  = 2342
	distSize = 402
)

// entry says what a code stands for.
//
//	literal   bit 31; bits 16-23 the byte; bits 0-7 the code's length
//	length,   bits 16-30 the least value; bits 8-11 the code's length;
//	distance  bits 0-7 that and the number of extra bits which follow the code
//	special   bit 15, with bit 14: the code goes on in the table at bits 16-30, which is indexed by as many bits as
//	          bits 8-11 say; with bit 13: the end of the block; with neither: no such code.
//	          Bits 0-7 as with a literal.
//
// Lengths of codes that go on are counted from where they do.
type entry uint32

const (
	literal    entry = 1 << 31
	special    entry = 1 << 15
	goesOn     entry = 1 << 14
	endOfBlock entry = 1 << 13
)

// extra takes the extra bits out of what follows and includes a length's or distance's code.
func (e entry) extra(b uint64) int {
	return int(b & (1<<(e&63) - 1) >> (e >> 8 & 15))
}

// coded returns e for a code of n bits.
func (e entry) coded(n int) entry {
	if e&(literal|special) != 0 {
		return e + entry(n)
	}
	return e + entry(n)<<8 + entry(n)
}

// symbols is an alphabet: what each symbol stands for, without the length of its code.
type symbols []entry

// alphabets are made once for a [Reader].
type alphabets struct {
	lit  [288]entry
	dist [32]entry
}

// lengths and distances as in RFC 1951, 3.2.5. The symbols 286 and 287, and 30 and 31, have codes in the fixed Huffman
// code but do not occur.
func newAlphabets() *alphabets {
	a := &alphabets{}
	for i := range 256 {
		a.lit[i] = literal | entry(i)<<16
	}
	a.lit[256] = special | endOfBlock
	for i, base := 257, 3; i < 285; i++ {
		extra := max(0, (i-261)/4)
		a.lit[i] = entry(base)<<16 | entry(extra)
		base += 1 << extra
	}
	a.lit[285] = 258 << 16
	a.lit[286], a.lit[287] = special, special
	for i, base := 0, 1; i < 30; i++ {
		extra := max(0, i/2-1)
		a.dist[i] = entry(base)<<16 | entry(extra)
		base += 1 << extra
	}
	a.dist[30], a.dist[31] = special, special
	return a
}

// fill makes the table that is looked up with the first n bits of a code, of which lengths gives each symbol's length in
// bits, 0 for symbols that do not occur. It reports whether such a code exists: one that is complete, or of one symbol with
// one bit, or of none.
func fill(table []entry, n int, alphabet symbols, lengths []uint8) bool {
	var count [maxBits + 1]int
	for _, l := range lengths {
		count[l]++
	}
	used := len(lengths) - count[0]
	count[0] = 0
	var first [maxBits + 2]int // where in sorted the symbols of a length begin
	left := 1
	for l := 1; l <= maxBits; l++ {
		left = left<<1 - count[l]
		if left < 0 {
			return false
		}
		first[l+1] = first[l] + count[l]
	}
	if left > 0 {
		if used > 1 || used != count[1] {
			return false
		}
		for i := range 1 << n {
			table[i] = special
		}
	}
	var sorted [288]uint16
	at := first
	for s, l := range lengths {
		if l != 0 {
			sorted[at[l]] = uint16(s)
			at[l]++
		}
	}
	longest := maxBits
	for longest > 1 && count[longest] == 0 {
		longest--
	}
	code, end, prefix, sub := 0, 1<<n, -1, 0
	for l := 1; l <= longest; l++ {
		for i := range count[l] {
			e := alphabet[sorted[first[l]+i]]
			// Codes come with their first bit lowest, whereas they count with their last bit lowest.
			reversed := int(bits.Reverse16(uint16(code)) >> (16 - l))
			if l <= n {
				e = e.coded(l)
				for j := reversed; j < 1<<n; j += 1 << l {
					table[j] = e
				}
			} else {
				if reversed&(1<<n-1) != prefix {
					prefix = reversed & (1<<n - 1)
					sub = tableBits(&count, l, i, longest, n)
					table[prefix] = special | goesOn | entry(end)<<16 | entry(sub)<<8 | entry(n)
					end += 1 << sub
				}
				e = e.coded(l - n)
				for j := reversed >> n; j < 1<<sub; j += 1 << (l - n) {
					table[end-1<<sub+j] = e
				}
			}
			code++
		}
		code <<= 1
	}
	return true
}

// tableBits returns by how many bits the table must be indexed whose first code is the i-th of length l: as many as the
// longest code has that begins with the same n bits.
func tableBits(count *[maxBits + 1]int, l, i, longest, n int) int {
	room := 1<<(l-n) - (count[l] - i)
	for room > 0 && l < longest {
		l++
		room = room<<1 - count[l]
	}
	return l - n
}
