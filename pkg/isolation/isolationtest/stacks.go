package isolationtest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// stacks compares random stacks of layers, as a process sees them, with their trees: every
// combination of kinds over each other, parents that are listed and parents that are not,
// whiteouts, opaque directories, links.
func (s *suite) stacks(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 0))
			root := s.rootfs
			for range 4 {
				root = pushRandom(t, r, root)
			}
			s.checkMerged(t, root)
		})
	}
}

// pushRandom pushes a random layer onto root that makes sense on it.
func pushRandom(t *testing.T, r *rand.Rand, root *tree.Tree) *tree.Tree {
	for {
		next := root.Push(Layer(t, randomFiles(r)...))
		// Some are refused: links to what does not exist.
		if _, err := next.View(t.Context()); err == nil {
			return next
		}
	}
}

// randomFiles makes a few files below /x, where the same names come again and again.
func randomFiles(r *rand.Rand) []layer.File {
	name := func() string { return string("abc"[r.IntN(3)]) }
	made := map[string]layer.Type{}
	var files []layer.File
	for range 2 + r.IntN(8) {
		p := "x"
		for range 1 + r.IntN(4) {
			p += "/" + name()
		}
		f := layer.File{Entry: layer.Entry{
			Path: p, Mode: uint16(r.IntN(0o1000)), UID: uint32(r.IntN(3)), ModTime: Epoch().Add(time.Duration(r.IntN(1000)) * time.Second),
		}}
		switch r.IntN(8) {
		case 0, 1, 2:
			f.Type, f.Opaque = layer.Directory, r.IntN(3) == 0
		case 3, 4:
			f.Type, f.Size = layer.Regular, int64(len(p))
			f.Content = layer.Bytes([]byte(p))
		case 5:
			f.Type, f.Link = layer.Symlink, name()
		case 6:
			f = Whiteout(p)
		case 7:
			f.Type, f.Link = layer.Hardlink, "x/"+name()
		}
		if fits(made, p, f.Type) {
			made[p] = f.Type
			files = append(files, f)
		}
	}
	return files
}

// fits reports whether a layer can have p: not twice, nothing below what is no directory.
func fits(made map[string]layer.Type, p string, kind layer.Type) bool {
	if _, ok := made[p]; ok {
		return false
	}
	for q, k := range made {
		below := len(p) > len(q) && p[:len(q)+1] == q+"/"
		above := len(q) > len(p) && q[:len(p)+1] == p+"/"
		if below && k != layer.Directory && k != layer.Whiteout || above && kind != layer.Directory && kind != layer.Whiteout {
			return false
		}
	}
	return true
}
