package op_test

import (
	"reflect"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
)

func TestBelow(t *testing.T) {
	tests := []struct {
		name   string
		op     op.Op
		inputs int
		want   [][]int
	}{
		{"an image is made of nothing", &op.Image{}, 0, [][]int{}},
		{"a merge is made of all", &op.Merge{}, 3, [][]int{{0, 1, 2}}},
		{
			"a copy is on top of what it copies to",
			&op.File{Actions: []op.FileAction{{Input: 0, Secondary: 1, Output: 0, Copy: &op.Copy{Src: "/a", Dest: "/b"}}}},
			2,
			[][]int{{0}},
		},
		{
			"of a copy and what follows on it, one is an output",
			&op.File{Actions: []op.FileAction{
				{Input: 1, Secondary: 0, Output: -1, Copy: &op.Copy{Src: "/a", Dest: "/b"}},
				{Input: 2, Secondary: 0, Output: 0, Copy: &op.Copy{Src: "/a", Dest: "/c"}},
			}},
			2,
			[][]int{{1}},
		},
		{
			"a file made from scratch",
			&op.File{Actions: []op.FileAction{{Input: -1, Secondary: -1, Output: 0, Mkdir: &op.Mkdir{Path: "/a"}}}},
			0,
			[][]int{nil},
		},
		{
			"a run's root, and a mount that is kept",
			&op.Exec{Mounts: []op.ExecMount{
				{Type: isolation.MountBind, Input: 2, Dest: "/", Output: 0},
				{Type: isolation.MountBind, Input: 0, Dest: "/ro", Output: -1, ReadOnly: true},
				{Type: isolation.MountBind, Input: 1, Dest: "/kept", Output: 1},
			}},
			3,
			[][]int{{2}, {1}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := op.Below(tt.op, tt.inputs)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%v, %v, want %v", got, err, tt.want)
			}
		})
	}
	if _, err := op.Below(&op.Exec{Mounts: []op.ExecMount{{Type: isolation.MountBind, Input: 1, Dest: "/"}}}, 1); err == nil {
		t.Error("a mount of an input that there is not: no error")
	}
}
