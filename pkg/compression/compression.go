// Package compression writes and reads the compression formats of image layers and of the
// archives that ADD unpacks.
//
// What it writes depends on the input bytes, the algorithm and the level, and on nothing
// else: not on the number of cores, not on how the input was cut into Write calls. A layer that is built
// again therefore keeps its digest.
package compression

import (
	"fmt"
)

// Algorithm is a compression format. The zero value is Gzip, which every registry and
// every runtime understands.
type Algorithm uint8

// The formats. Bzip2 and XZ can only be read.
const (
	Gzip Algorithm = iota
	Zstd
	None
	Bzip2
	XZ
)

var names = [...]string{Gzip: "gzip", Zstd: "zstd", None: "uncompressed", Bzip2: "bzip2", XZ: "xz"}

// String is the name by which --compression and BuildKit's exporters know the algorithm.
func (a Algorithm) String() string {
	if int(a) < len(names) {
		return names[a]
	}
	return fmt.Sprintf("compression(%d)", uint8(a))
}

// Parse returns the algorithm of that name, one that can be written: "gzip", "zstd",
// "uncompressed" or "none".
func Parse(name string) (Algorithm, error) {
	switch name {
	case "gzip":
		return Gzip, nil
	case "zstd":
		return Zstd, nil
	case "uncompressed", "none":
		return None, nil
	}
	return 0, fmt.Errorf("compression %q is not supported: use gzip, zstd or uncompressed", name)
}

// Options say how a stream is compressed. The zero value is gzip at its default level.
type Options struct {
	Algorithm Algorithm
	// Level is how hard to try: 1 (fastest) to 9 for gzip, 1 to 22 for zstd, 0
	// for the default, and Stored. It means nothing without compression.
	Level int
}

// Levels with a meaning of their own.
const (
	// DefaultLevel is the zero value of Options.Level: [defaultGzipLevel] and
	// [defaultZstdLevel] say which they are and why.
	DefaultLevel = 0
	// Stored is the gzip format without compressing, which other tools call level 0.
	Stored = -1
)

// Validate reports what NewWriter would refuse, so that a command line can be checked before
// anything is built.
func (o Options) Validate() error {
	lowest, highest := 0, 0
	switch o.Algorithm {
	case None:
		return nil
	case Gzip:
		lowest, highest = Stored, 9
	case Zstd:
		lowest, highest = DefaultLevel, 22
	default:
		return fmt.Errorf("compression %s can be read but not written", o.Algorithm)
	}
	if o.Level < lowest || o.Level > highest {
		return fmt.Errorf("compression level %d is out of range for %s: use 1 to %d", o.Level, o.Algorithm, highest)
	}
	return nil
}
