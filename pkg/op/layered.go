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

// layered is an operation whose outputs are each one layer on top of an input, or of nothing.
type layered interface {
	// bases returns, for each output, the input that it is on top of, -1 for none; n is the number of inputs.
	bases(n int) ([]int, error)
}

// Bases returns the trees that the outputs of an operation are each one layer on top of. Only those of
// a [File] and an [Exec] are that.
func Bases(o Op, in []Input) ([]*tree.Tree, error) {
	l, ok := o.(layered)
	if !ok {
		return nil, fmt.Errorf("the results of %T are not layers on top of its inputs", o)
	}
	from, err := l.bases(len(in))
	if err != nil {
		return nil, err
	}
	bases := make([]*tree.Tree, len(from))
	for i, at := range from {
		if at >= 0 {
			bases[i] = in[at].Tree
		}
	}
	return bases, nil
}

// Below returns, for each output of an operation with n inputs, those inputs whose layers the output
// has in it.
func Below(o Op, n int) ([][]int, error) {
	if _, ok := o.(*Merge); ok {
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		return [][]int{all}, nil
	}
	var (
		bases []int
		err   error
	)
	if l, ok := o.(layered); ok {
		bases, err = l.bases(n)
	}
	below := make([][]int, len(bases))
	for i, at := range bases {
		if at >= 0 {
			below[i] = []int{at}
		}
	}
	return below, err
}

func (f *File) bases(n int) ([]int, error) {
	outputs, err := newFileRun(f, nil, make([]Input, n)).plan()
	if err != nil {
		return nil, err
	}
	for i, at := range outputs {
		from := n + at
		for steps := 0; from >= n; steps++ {
			if steps > len(f.Actions) {
				return nil, fmt.Errorf("file action %d depends on its own result", at)
			}
			from = f.Actions[from-n].Input
		}
		outputs[i] = from
	}
	return outputs, nil
}

func (e *Exec) bases(n int) ([]int, error) {
	var bases []int
	for i := range e.Mounts {
		m := &e.Mounts[i]
		if !m.hasOutput() {
			continue
		}
		if m.Input >= n {
			return nil, fmt.Errorf("mount %s: there is no input %d", m.Dest, m.Input)
		}
		for len(bases) <= m.Output {
			bases = append(bases, -1)
		}
		bases[m.Output] = m.Input
	}
	return bases, nil
}
