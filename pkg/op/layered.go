package op

import (
	"fmt"
	"slices"

	"github.com/slipway-build/slipway/pkg/tree"
)

// Reads lists the inputs, of n, whose content counts in the operation's key, in ascending order.
func Reads(o Op, n int) []int {
	var reads []int
	switch o := o.(type) {
	case *File:
		r := newFileRun(o, nil, make([]Input, n))
		for i := range n {
			if r.onlyRead(i) {
				reads = append(reads, i)
			}
		}
	case *Exec:
		for i := range o.Mounts {
			if m := &o.Mounts[i]; m.Input >= 0 && m.byContent() {
				reads = append(reads, m.Input)
			}
		}
	}
	slices.Sort(reads)
	return slices.Compact(reads)
}

// Bases returns the trees that the outputs of an operation are each one layer on top of. Only those of
// a [File] and an [Exec] are that.
func Bases(o Op, in []Input) ([]*tree.Tree, error) {
	switch o := o.(type) {
	case *File:
		return o.bases(in)
	case *Exec:
		return o.bases(in)
	}
	return nil, fmt.Errorf("the results of %T are not layers on top of its inputs", o)
}

func (f *File) bases(in []Input) ([]*tree.Tree, error) {
	outputs, err := newFileRun(f, nil, in).plan()
	if err != nil {
		return nil, err
	}
	bases := make([]*tree.Tree, len(outputs))
	for i, at := range outputs {
		from := len(in) + at
		for steps := 0; from >= len(in); steps++ {
			if steps > len(f.Actions) {
				return nil, fmt.Errorf("file action %d depends on its own result", at)
			}
			from = f.Actions[from-len(in)].Input
		}
		if from >= 0 {
			bases[i] = in[from].Tree
		}
	}
	return bases, nil
}

func (e *Exec) bases(in []Input) ([]*tree.Tree, error) {
	var bases []*tree.Tree
	for i := range e.Mounts {
		m := &e.Mounts[i]
		if !m.hasOutput() {
			continue
		}
		if m.Input >= len(in) {
			return nil, fmt.Errorf("mount %s: there is no input %d", m.Dest, m.Input)
		}
		for len(bases) <= m.Output {
			bases = append(bases, nil)
		}
		if m.Input >= 0 {
			bases[m.Output] = in[m.Input].Tree
		}
	}
	return bases, nil
}
