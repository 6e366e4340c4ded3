package op

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/layer"
)

func readArchive(tb testing.TB, data []byte) *Archive {
	tb.Helper()
	env := testEnv(tb)
	a, err := ReadArchive(tb.Context(), bytes.NewReader(data), env.State, env.Now, nil)
	must(tb, err)
	return a
}

// selectedOf is what l selects of an archive.
func selectedOf(tb testing.TB, a *Archive, l Local) layer.Layer {
	tb.Helper()
	l.Name = "context"
	out, err := l.Run(tb.Context(), &Env{Locals: map[string]Files{"context": a}}, nil)
	must(tb, err)
	return out[0].Top()
}

// The entries of an archive mean what they mean to ADD, and keep owners and times.
func TestArchiveEntries(t *testing.T) {
	got := selectedOf(t, readArchive(t, tarOf(t, `
		d 750 0:0 5 ./
		f 4755 7:8 5 ./f F
		h 644 0:0 6 h f
		l 777 1:1 7 d/link /f
		f 644 0:0 5 d/.wh.x W
		f 644 0:0 5 /x/../e E
		c 666 0:0 5 null 1,3
		p 600 0:0 5 pipe
		f 644 0:0 5 x first
		f 600 9:9 9 x again`)), Local{})
	checkLines(t, lines(`
		d 755 0:0 9999 d
		f 644 0:0 5 d/.wh.x W
		l 777 1:1 7 d/link /f
		f 644 0:0 5 e E
		f 644 0:0 6 f F
		h 644 0:0 6 h f
		c 666 0:0 5 null 1,3
		p 600 0:0 5 pipe
		f 600 9:9 9 x again`), formatLayer(t, got))
}

func TestArchiveSelection(t *testing.T) {
	a := readArchive(t, tarOf(t, `
		f 644 0:0 5 a.go 1
		f 644 0:0 5 a.md 2
		f 644 0:0 5 deep/er/c 3
		l 777 0:0 5 link sub/b.go
		f 644 0:0 5 sub/b.go 4
		h 644 0:0 5 sub/hard deep/er/c
		f 644 0:0 5 sub/keep.md 5
		l 777 0:0 5 up/sub ../sub`))
	for name, c := range map[string]struct {
		sub   string
		local Local
		want  string
	}{
		"all":             {"", Local{}, "a.go a.md deep deep/er deep/er/c link sub sub/b.go sub/hard=deep/er/c sub/keep.md up up/sub"},
		"exclude":         {"", Local{Exclude: []string{"**/*.md", "!sub/keep.md", "deep"}}, "a.go link sub sub/b.go sub/hard sub/keep.md up up/sub"},
		"include":         {"", Local{Include: []string{"deep/er"}}, "deep deep/er deep/er/c"},
		"follow":          {"", Local{FollowPaths: []string{"link"}}, "link sub sub/b.go"},
		"follow a parent": {"", Local{FollowPaths: []string{"up/sub/keep.md"}}, "sub sub/keep.md up up/sub"},
		"nothing":         {"", Local{FollowPaths: []string{"absent"}}, ""},
		"wild card":       {"", Local{FollowPaths: []string{"*.go"}}, "a.go"},
		"sub":             {"sub", Local{}, "b.go hard keep.md"},
		"sub by a link":   {"/up/sub/", Local{Exclude: []string{"*.md"}}, "b.go hard"},
	} {
		t.Run(name, func(t *testing.T) {
			sub, err := a.Sub(c.sub)
			must(t, err)
			x, err := selectedOf(t, sub, c.local).Index(t.Context())
			must(t, err)
			var got []string
			for e := range x.All() {
				got = append(got, e.Path)
				if e.Type == layer.Hardlink {
					got[len(got)-1] += "=" + e.Link
				}
			}
			if !slices.Equal(got, strings.Fields(c.want)) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	sub, err := a.Sub("sub")
	must(t, err)
	if got := readLayer(t, selectedOf(t, sub, Local{}), "hard"); got != "3" {
		t.Errorf("a link to the outside of a directory has the content %q", got)
	}
	for file, want := range map[string]bool{"b.go": true, "../a.go": true, "absent": false, ".": false} {
		if sub.HasFile(file) != want {
			t.Errorf("HasFile(%q) is %t", file, !want)
		}
	}
	for _, dir := range []string{"absent", "a.go", "link"} {
		if _, err := a.Sub(dir); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("directory %s: error %v", dir, err)
		}
	}
	if got := sub.Newest(); got.Unix() != 5 {
		t.Errorf("the newest file is of %s", got)
	}
}

// A part of an archive is never taken for all of it.
func TestArchiveCutOff(t *testing.T) {
	plain := tarOf(t, `
		f 644 0:0 5 a A
		f 644 0:0 5 b B`)
	for n := range plain {
		_, err := ReadArchive(t.Context(), bytes.NewReader(plain[:n]), testEnv(t).State, testNow, nil)
		// Of the two blocks of zeros at the end, many programs write only one.
		if whole := n >= len(plain)-tarBlock; (err == nil) != whole && n%tarBlock == 0 {
			t.Errorf("%d of %d bytes: error %v", n, len(plain), err)
		}
		if err == nil && n < len(plain)-tarBlock {
			t.Errorf("%d of %d bytes are taken for all", n, len(plain))
		}
	}
	for n, whole := range map[int]bool{4 * tarBlock: true, 2*tarBlock + 100: false} { // the second header begins at 2*tarBlock
		_, err := ReadArchive(t.Context(), bytes.NewReader(plain[:n]), testEnv(t).State, testNow, func() bool { return true })
		if (err == nil) != whole {
			t.Errorf("%d of %d bytes that are said to be all: error %v", n, len(plain), err)
		}
	}
	for name, data := range map[string][]byte{"text": []byte("just text"), "much text": []byte(strings.Repeat("text", 1000)), "nothing": nil, "compressed text": compressedText(t)} {
		if _, err := ReadArchive(t.Context(), bytes.NewReader(data), testEnv(t).State, testNow, nil); !errors.Is(err, ErrNoArchive) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if a := readArchive(t, make([]byte, 1024)); a.Len() != 0 {
		t.Errorf("an empty archive has %d names", a.Len())
	}
	_, err := ReadArchive(t.Context(), io.MultiReader(bytes.NewReader(plain[:700]), brokenReader{}), testEnv(t).State, testNow, nil)
	if !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
}

// FuzzArchive reads foreign bytes as a context. What comes of it is a layer that can be read.
func FuzzArchive(f *testing.F) {
	f.Add(tarOf(f, `f 644 0:0 5 f F`))
	f.Add(tarOf(f, `
		l 777 0:0 5 l ../../etc
		f 644 0:0 5 l/passwd X
		h 644 0:0 5 d/h ../l/passwd`))
	f.Add(bzip2Tar(f))
	f.Add(compressedText(f))
	env := testEnv(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ReadArchive(t.Context(), bytes.NewReader(data), env.State, env.Now, nil)
		if err != nil {
			return
		}
		l := selectedOf(t, a, Local{Exclude: []string{"**/x*"}, FollowPaths: []string{"l", "d/*"}})
		x, err := l.Index(t.Context())
		must(t, err)
		for e := range x.All() {
			if e.Type == layer.Regular {
				readLayer(t, l, e.Path)
			}
		}
	})
}
