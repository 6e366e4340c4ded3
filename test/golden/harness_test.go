package golden

import (
	"reflect"
	"strings"
	"testing"
)

// The reader that everything is compared with is itself compared with the rules of image-spec, layer.md.
func TestMergeLayers(t *testing.T) {
	for name, c := range map[string]struct {
		layers []string
		want   string // treeText without times; "error: …" if merging fails
	}{
		"replace":                {[]string{"a content=1\nb content=2", "a content=3 mode=0600"}, "/a file 0600 0:0 1 \"3\"\n/b file 0644 0:0 1 \"2\"\n"},
		"whiteout":               {[]string{"d/\nd/a content=1\nd/b content=2", "d/.wh.a"}, "/d dir 0755 0:0\n/d/b file 0644 0:0 1 \"2\"\n"},
		"whiteout of directory":  {[]string{"d/\nd/a content=1", ".wh.d"}, ""},
		"whiteout and new":       {[]string{"d/\nd/a content=1", "d/\nd/n content=2\n.wh.d"}, "/d dir 0755 0:0\n/d/n file 0644 0:0 1 \"2\"\n"},
		"opaque":                 {[]string{"d/\nd/a content=1", "d/\nd/n content=2\nd/.wh..wh..opq"}, "/d dir 0755 0:0\n/d/n file 0644 0:0 1 \"2\"\n"},
		"directory over":         {[]string{"d/\nd/a content=1", "d/ mode=0700"}, "/d dir 0700 0:0\n/d/a file 0644 0:0 1 \"1\"\n"},
		"file over directory":    {[]string{"d/\nd/a content=1", "d content=1"}, "/d file 0644 0:0 1 \"1\"\n"},
		"hard link across":       {[]string{"a content=1", "b hardlink=a"}, "/a file 0644 0:0 1 \"1\"\n/b file 0644 0:0 1 \"1\" hardlink=/a\n"},
		"hard link and whiteout": {[]string{"a content=1\nb hardlink=a", ".wh.a"}, "/b file 0644 0:0 1 \"1\"\n"},
		"hard link to nothing":   {[]string{"b hardlink=a"}, "error: layer 0: b: it is a hard link to a, which is not there"},
		"twice":                  {[]string{"a content=1\na content=2"}, "error: layer 0: a is there twice"},
		"below a file":           {[]string{"a content=1", "a/b content=2"}, "error: layer 1: a/b: its parent a is no directory"},
		"special":                {[]string{"c char=1:3\np fifo\ns symlink=/x"}, "/c char 0644 0:0 1:3\n/p fifo 0644 0:0\n/s symlink 0777 0:0 -> /x\n"},
		"attributes":             {[]string{`"a b" content="\xff" xattr=user.k="v w"`}, "\"/a b\" file 0644 0:0 1 sha256:a8100ae6aa1940d0b663bb31cd466142ebbdbd5187131b92d93818987832eb89 user.k=\"v w\"\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var layers [][]byte
			for _, list := range c.layers {
				specs, err := parseFileSpecs(list)
				if err != nil {
					t.Fatal(err)
				}
				layer, err := makeArchive("x.tar", specs)
				if err != nil {
					t.Fatal(err)
				}
				layers = append(layers, layer)
			}
			got := ""
			if m, err := mergeLayers(layers); err != nil {
				got = "error: " + err.Error()
			} else {
				got = strings.ReplaceAll(treeText(m, nil, defaultMtime()), " epoch", "")
			}
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestTreeText(t *testing.T) {
	tree := func(list string) merged {
		specs, err := parseFileSpecs(list)
		if err != nil {
			t.Fatal(err)
		}
		layer, err := makeArchive("x.tar", specs)
		if err != nil {
			t.Fatal(err)
		}
		m, err := mergeLayers([][]byte{layer})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	base := tree("same content=1\ngone content=1\nlater content=1\nmode content=1")
	got := treeText(tree("same content=1\nlater content=1 mtime=2025-05-05T05:05:06Z\nmode content=1 mode=0600\nnew content=1"), base, defaultMtime())
	want := `- /gone
/later file 0644 0:0 2025-05-05T05:05:06Z 1 "1"
/mode file 0600 0:0 epoch 1 "1"
/new file 0644 0:0 epoch 1 "1"
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		`a b`:                {"a", "b"},
		`  a	b  `:            {"a", "b"},
		`"a b" c="d \"e\""x`: {"a b", `c=d "e"x`},
		`x=""`:               {"x="},
	} {
		if got, err := splitWords(line); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, %v, want %q", line, got, err, want)
		}
	}
	if _, err := splitWords(`a "b`); err == nil {
		t.Error("an open quotation is accepted")
	}
}

func TestDiffLines(t *testing.T) {
	if got, want := diffLines("a\nb\nc\n", "a\nx\nc\nd\n"), "-b\n+x\n+d\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
