package workload

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// words is a text of which files are made: it is compressed about as well as source code.
type words struct{ r *rand.Rand }

func newWords(seed uint64) *words { return &words{rand.New(rand.NewPCG(seed, 1))} }

// fill fills data with words, each eighth of which is random bytes.
func (w *words) fill(data []byte) {
	const word = 8
	for i := 0; i < len(data); i += word {
		n := w.r.Uint64()
		for j := i; j < min(i+word, len(data)); j++ {
			if n%8 == 0 {
				data[j] = byte(n >> (8 * (j - i)))
			} else {
				data[j] = "abcdefgh"[(n>>(3*(j-i)))%8]
			}
		}
	}
}

// write makes n files of together about total bytes below dir, a hundred in each directory.
func (w *words) write(dir string, n int, total int64) error {
	size := int(total / int64(n))
	data := make([]byte, size)
	for i := range n {
		at := filepath.Join(dir, fmt.Sprintf("d%03d", i/1000), fmt.Sprintf("e%d", i/100%10))
		if i%100 == 0 {
			if err := os.MkdirAll(at, 0o755); err != nil {
				return err
			}
		}
		w.fill(data)
		if err := os.WriteFile(filepath.Join(at, fmt.Sprintf("f%02d", i%100)), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
