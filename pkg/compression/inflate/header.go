package inflate

// header reads the beginning of a block (RFC 1951, 3.2.3).
func (d *decoder) header() error {
	v, err := d.take(3)
	if err != nil {
		return err
	}
	d.last = v&1 != 0
	switch v >> 1 {
	case 0:
		return d.storedHeader()
	case 1:
		d.state = coded
		d.fixed()
		return nil
	case 2:
		d.state = coded
		return d.dynamic()
	default:
		return corrupt("no such type of block")
	}
}

// storedHeader reads the length of a block that is not compressed (RFC 1951, 3.2.4).
func (d *decoder) storedHeader() error {
	d.align()
	size, err := d.take(16)
	if err != nil {
		return err
	}
	check, err := d.take(16)
	if err != nil {
		return err
	}
	if size != check^0xffff {
		return corrupt("the length of a stored block is not what its complement says")
	}
	d.align()
	d.state, d.left = stored, size
	return nil
}

// fixed makes the tables of the fixed code (RFC 1951, 3.2.6).
func (d *decoder) fixed() {
	var lengths [288 + 32]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		case i < 288:
			lengths[i] = 8
		default:
			lengths[i] = 5
		}
	}
	fill(d.lit[:], litBits, d.alphabets.lit[:], lengths[:288])
	fill(d.dist[:], distBits, d.alphabets.dist[:], lengths[288:])
}

// dynamic reads the codes of a block and makes their tables (RFC 1951, 3.2.7).
func (d *decoder) dynamic() error {
	v, err := d.take(14)
	if err != nil {
		return err
	}
	lits, dists, codes := v&31+257, v>>5&31+1, v>>10+4
	if lits > 286 || dists > 30 {
		return corrupt("too many codes")
	}
	var lengths [288 + 32]uint8
	if err := d.codeLengths(codes, lengths[:lits+dists]); err != nil {
		return err
	}
	if !fill(d.lit[:], litBits, d.alphabets.lit[:], lengths[:lits]) || !fill(d.dist[:], distBits, d.alphabets.dist[:], lengths[lits:lits+dists]) {
		return corrupt("no such Huffman code")
	}
	return nil
}

// codeLengths reads the lengths of codes, which are themselves coded by a code of so many symbols.
func (d *decoder) codeLengths(codes int, lengths []uint8) error {
	var own [19]uint8
	for i := range codes {
		n, err := d.take(3)
		if err != nil {
			return err
		}
		own[lengthOrder[i]] = uint8(n)
	}
	const first = 7 // the longest that such a code can be
	var table [1 << first]entry
	if !fill(table[:], first, lengthSymbols[:], own[:]) {
		return corrupt("no such Huffman code")
	}
	for i := 0; i < len(lengths); {
		e, err := d.lookup(table[:], first)
		if err != nil {
			return err
		}
		symbol := int(e >> 16 & 0xff)
		repeat, value := 1, uint8(symbol)
		switch symbol {
		case 16:
			if i == 0 {
				return corrupt("a length is repeated and there is none")
			}
			value = lengths[i-1]
			repeat, err = d.take(2)
			repeat += 3
		case 17:
			value = 0
			repeat, err = d.take(3)
			repeat += 3
		case 18:
			value = 0
			repeat, err = d.take(7)
			repeat += 11
		}
		if err != nil {
			return err
		}
		if i+repeat > len(lengths) {
			return corrupt("too many lengths")
		}
		for range repeat {
			lengths[i] = value
			i++
		}
	}
	return nil
}

// lengthOrder is the order in which the lengths of that code come.
var lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// lengthSymbols is its alphabet.
var lengthSymbols = func() (a [19]entry) {
	for i := range a {
		a[i] = literal | entry(i)<<16
	}
	return a
}()
