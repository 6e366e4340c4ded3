package op

import (
	"context"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/tree"
)

func copying(src, dest string, change ...func(*Copy)) FileAction {
	return FileAction{Copy: dockerfileCopy(src, dest, change...)}
}

func TestFileChains(t *testing.T) {
	runActionCases(t, []actionCase{
		{
			name: "one layer for all", src: buildContext,
			actions: chained(mkdir("/x", false), mkfile("/x/f", "F"), copying("/a.txt", "/x/")),
			want: `d 755 0:0 9999 x
				f 644 0:0 10 x/a.txt A
				f 644 0:0 9999 x/f F`,
		}, {
			name: "replaced twice", src: buildContext, base: `f 644 0:0 1 f old`,
			actions: chained(mkfile("/f", "1"), mkfile("/f", "2"), copying("/a.txt", "/f")),
			want:    `f 644 0:0 10 f A`,
		}, {
			name: "replaced by what was there", src: `f 644 0:0 1 f old`, base: `f 644 0:0 1 f old`,
			actions: chained(mkfile("/f", "1"), copying("/f", "/")),
			want:    ``,
		}, {
			name: "directory becomes a file",
			base: `d 755 0:0 1 x
				f 644 0:0 1 x/f F`,
			src:     `f 644 0:0 5 x X`,
			actions: chained(copying("/x", "/.", replaceExisting)),
			want:    `f 644 0:0 5 x X`,
		}, {
			name: "file becomes a directory", base: `f 644 0:0 1 x X`,
			src: `d 755 0:0 5 x
				f 644 0:0 5 x/f F`,
			actions: chained(copying("/", "/", replaceExisting)),
			want: `d 755 0:0 5 x
				f 644 0:0 5 x/f F`,
		}, {
			name: "directory becomes a file becomes a directory: nothing of the first is left",
			base: `d 755 0:0 1 x
				f 644 0:0 1 x/old F`,
			src: `f 644 0:0 5 one/x X
				d 755 0:0 5 two/x
				f 644 0:0 5 two/x/new F`,
			actions: chained(copying("/one", "/", replaceExisting), copying("/two", "/", replaceExisting)),
			want: `o 755 0:0 5 x
				f 644 0:0 5 x/new F`,
		}, {
			name: "the same with an empty directory needs no opaque mark", base: `d 755 0:0 1 x`,
			src: `f 644 0:0 5 one/x X
				d 755 0:0 5 two/x`,
			actions: chained(copying("/one", "/", replaceExisting), copying("/two", "/", replaceExisting)),
			want:    `d 755 0:0 5 x`,
		}, {
			name: "copies from an earlier action",
			actions: []FileAction{
				{Input: -1, Secondary: -1, Output: -1, Mkfile: &Mkfile{Path: "/f", Mode: 0o600, Data: []byte("F")}},
				{Input: 0, Secondary: 2, Output: 0, Copy: dockerfileCopy("/f", "/g")},
			},
			want: `f 600 0:0 9999 g F`,
		}, {
			name: "copies from its own state",
			actions: []FileAction{
				{Input: 0, Secondary: -1, Output: -1, Mkfile: &Mkfile{Path: "/f", Mode: 0o600, Data: []byte("F")}},
				{Input: 2, Secondary: 2, Output: 0, Copy: dockerfileCopy("/f", "/g")},
			},
			want: `f 600 0:0 9999 f F
				f 600 0:0 9999 g F`,
		}, {
			name: "copies from its own input", base: `f 644 0:0 1 d/f F`,
			actions: []FileAction{{Input: 0, Secondary: 0, Output: 0, Copy: dockerfileCopy("/d", "/d/e")}},
			want: `d 755 0:0 9999 d/e
				f 644 0:0 1 d/e/f F`,
		}, {
			name:    "copies from nothing",
			actions: []FileAction{{Input: 0, Secondary: -1, Output: 0, Copy: dockerfileCopy("/f", "/g")}},
			err:     `"/f": not found`,
		}, {
			name: "later actions run first if they are needed",
			actions: []FileAction{
				{Input: 3, Secondary: -1, Output: 0, Mkfile: &Mkfile{Path: "/d/f", Mode: 0o600}},
				{Input: 0, Secondary: -1, Output: -1, Mkdir: &Mkdir{Path: "/d", Mode: 0o755}},
			},
			want: `d 755 0:0 9999 d
				f 600 0:0 9999 d/f`,
		}, {
			name:    "depends on itself",
			actions: []FileAction{{Input: 2, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/d"}}},
			err:     "depends on its own result",
		}, {
			name:    "no output",
			actions: []FileAction{{Input: 0, Secondary: -1, Output: -1, Mkdir: &Mkdir{Path: "/d"}}},
			err:     "no outputs",
		}, {
			name:    "missing output",
			actions: []FileAction{{Input: 0, Secondary: -1, Output: 1, Mkdir: &Mkdir{Path: "/d"}}},
			err:     "missing output index 0",
		}, {
			name: "output twice",
			actions: []FileAction{
				{Input: 0, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/d"}},
				{Input: 0, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/e"}},
			},
			err: "duplicate output 0",
		}, {
			name:    "negative output",
			actions: []FileAction{{Input: 0, Secondary: -1, Output: -2, Mkdir: &Mkdir{Path: "/d"}}},
			err:     "missing output",
		}, {
			name:    "input out of range",
			actions: []FileAction{{Input: 3, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/d"}}},
			err:     "invalid input index 3",
		}, {
			name:    "secondary input out of range",
			actions: []FileAction{{Input: 0, Secondary: -2, Output: 0, Copy: dockerfileCopy("/", "/")}},
			err:     "invalid secondary input index -2",
		}, {
			name:    "no action",
			actions: []FileAction{{Input: 0, Secondary: -1, Output: 0}},
			err:     "no known type",
		},
	})
}

// Two outputs that share an action do not disturb each other, and neither do actions that
// start from the same result.
func TestFileOutputs(t *testing.T) {
	base := specTree(t, `f 644 0:0 1 f F`)
	f := &File{Actions: []FileAction{
		{Input: 0, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/d", Mode: 0o700}},
		{Input: 1, Secondary: -1, Output: 1, Mkfile: &Mkfile{Path: "/d/one", Mode: 0o600}},
		{Input: 1, Secondary: -1, Output: 2, Mkfile: &Mkfile{Path: "/d/two", Mode: 0o600}},
		{Input: -1, Secondary: -1, Output: 3, Mkfile: &Mkfile{Path: "/alone", Mode: 0o600}},
	}}
	out, err := f.Run(t.Context(), testEnv(t), []Input{input(base, 1)})
	if err != nil {
		t.Fatal(err)
	}
	const d = `d 700 0:0 9999 d
		`
	for i, want := range []string{d, d + `f 600 0:0 9999 d/one`, d + `f 600 0:0 9999 d/two`, `f 600 0:0 9999 alone`} {
		checkLines(t, lines(want), formatLayer(t, out[i].Top()))
		wantBase := base
		if i == 3 {
			wantBase = nil
		}
		if out[i].Parent() != wantBase {
			t.Errorf("output %d is not one layer on its input", i)
		}
	}
}

// A copy refers to the content of the source's layer and does not read it.
func TestFileDoesNotReadContent(t *testing.T) {
	src := specTree(t, `f 644 0:0 1 f F`)
	unreadable := tree.New(noContent{src.Top()})
	f := &File{Actions: []FileAction{
		{Input: 1, Secondary: -1, Output: -1, Mkdir: &Mkdir{Path: "/d"}},
		{Input: 0, Secondary: 1, Output: 0, Copy: dockerfileCopy("/f", "/g")},
	}}
	if _, err := f.Run(t.Context(), testEnv(t), []Input{input(nil, 1), input(unreadable, 2)}); err != nil {
		t.Error(err)
	}
}

func TestFileCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f := &File{Actions: chained(copying("/", "/"))}
	_, err := f.Run(ctx, testEnv(t), []Input{input(nil, 1), input(specTree(t, buildContext), 2)})
	if err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Errorf("error is %v", err)
	}
}
