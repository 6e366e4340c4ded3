package op

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/layer"
)

// FuzzUnpack unpacks foreign bytes over a tree that has links out of the destination. What
// comes of it lies in the destination and fits the tree.
func FuzzUnpack(f *testing.F) {
	for _, spec := range []string{
		`f 644 0:0 5 f F`,
		`d 755 0:0 5 d/
		h 644 0:0 5 d/h ../f`,
		`l 777 0:0 5 l ../../etc
		f 644 0:0 5 l/passwd X`,
		`f 644 0:0 5 ../../etc/passwd X`,
		`f 644 0:0 5 up/etc/passwd X
		h 644 0:0 5 up/h /etc/passwd`,
		`c 666 0:0 5 null 1,3 {user.x=1}
		p 600 0:0 5 a/b/c`,
		`d 700 0:0 5 /
		f 644 0:0 5 .. X`,
	} {
		f.Add(tarOf(f, spec))
	}
	f.Add(bzip2Tar(f))
	f.Add(compressedText(f))
	const base = `
		f 644 0:0 1 etc/passwd root
		d 755 0:0 1 new/d
		l 777 0:0 1 new/up ../..
		l 777 0:0 1 new/etc /etc
		f 644 0:0 1 new/f F
		h 644 0:0 1 out new/f`
	tree, env := specTree(f, base), testEnv(f)
	op := &File{Actions: []FileAction{{Input: 0, Secondary: 1, Output: 0, Copy: dockerfileCopy("/archive", "/new", unpackArchives)}}}
	f.Fuzz(func(t *testing.T, archive []byte) {
		out, err := op.Run(t.Context(), env, []Input{input(tree, 1), input(withFile(t, archive), 2)})
		if err != nil {
			return
		}
		x, err := out[0].Top().Index(t.Context())
		must(t, err)
		for e := range x.All() {
			if e.Path != "new" && !strings.HasPrefix(e.Path, "new/") {
				t.Errorf("%q was changed", e.Path)
			}
			if e.Type == layer.Regular {
				readLayer(t, out[0].Top(), e.Path)
			}
		}
		if _, err := out[0].View(t.Context()); err != nil {
			t.Errorf("the layer does not fit: %v", err)
		}
	})
}
