package erofs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRandom writes random trees, in blocks of all sizes that pages have, for a reader that is not ours.
func TestRandom(t *testing.T) {
	for seed := range uint64(30) {
		blockSize := []int64{4 << 10, 16 << 10, 64 << 10}[seed%3]
		t.Run(fmt.Sprintf("seed=%d,block=%d", seed, blockSize), func(t *testing.T) {
			s := randomSample(rand.New(rand.NewPCG(seed, 7)))
			name := filepath.Join(t.TempDir(), "image")
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			size, err := write(t.Context(), f, s.nodes, s.open, blockSize)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if size%blockSize != 0 {
				t.Errorf("the image has %d bytes", size)
			}
			sameFiles(t, readWithGo(t, name), s.files())
		})
	}
}

func randomSample(rnd *rand.Rand) *sample {
	s := &sample{contents: map[string][]byte{}}
	s.add(Node{Mode: unix.S_IFDIR | rnd.Uint32N(0o10000)})
	dirs, files, taken := []string{""}, []string{}, map[string]bool{}
	for range rnd.IntN(800) {
		n := Node{
			Path: path.Join(dirs[rnd.IntN(len(dirs))], randomName(rnd)),
			Mode: rnd.Uint32N(0o10000), UID: rnd.Uint32(), GID: rnd.Uint32(),
			ModTime: time.Unix(rnd.Int64N(1<<40)-1<<39, rnd.Int64N(1e9)),
		}
		if taken[n.Path] {
			continue
		}
		taken[n.Path] = true
		switch kind := rnd.IntN(10); {
		case kind == 0:
			n.Mode |= unix.S_IFDIR
			dirs = append(dirs, n.Path)
			s.add(n)
			continue
		case kind == 1:
			n.Mode |= unix.S_IFLNK
			n.Link = strings.Repeat("l", 1+rnd.IntN(1<<rnd.IntN(12)))
			s.add(n)
		case kind == 2:
			n.Mode |= []uint32{unix.S_IFCHR, unix.S_IFBLK}[rnd.IntN(2)]
			n.Major, n.Minor = rnd.Uint32N(maxMajor+1), rnd.Uint32N(maxMinor+1)
			s.add(n)
		case kind == 3 && len(files) > 0:
			s.add(Node{Path: n.Path, HardlinkTo: files[rnd.IntN(len(files))]})
			continue
		default:
			n.Mode |= unix.S_IFREG
			s.file(n, randomBytes(rnd.IntN(1<<rnd.IntN(17))))
		}
		files = append(files, n.Path)
	}
	rnd.Shuffle(len(s.nodes), func(i, j int) { s.nodes[i], s.nodes[j] = s.nodes[j], s.nodes[i] })
	return s
}

// randomName has any bytes that a name can have.
func randomName(rnd *rand.Rand) string {
	b := make([]byte, 1+rnd.IntN(1<<rnd.IntN(9))%maxName)
	for i := range b {
		for b[i] == 0 || b[i] == '/' {
			b[i] = byte(rnd.Uint32())
		}
	}
	if slices.Contains([]string{".", ".."}, string(b)) {
		return "dot"
	}
	return string(b)
}
