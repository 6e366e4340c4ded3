package tree

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"syscall"
	"testing"
)

func TestGlob(t *testing.T) {
	v := specView(t, `
		f a.go; f b.go; f c.txt; f dir/a.go; f dir/sub/a.go; f dir.d/a.go; f dir/*; f [x]
		l link dir; l dir/loop ..; l l.go gone; f é.txt`)
	for _, tt := range []struct {
		pattern string
		want    []string
		err     error
	}{
		{"*.go", []string{"a.go", "b.go", "l.go"}, nil},
		{"/*.go", []string{"a.go", "b.go", "l.go"}, nil},
		{"./x/../*.go", []string{"a.go", "b.go", "l.go"}, nil},
		{"../*.txt", []string{"c.txt", "é.txt"}, nil},
		{"?.txt", []string{"c.txt", "é.txt"}, nil},
		{"[a-b].go", []string{"a.go", "b.go"}, nil},
		{"[^a].go", []string{"b.go", "l.go"}, nil},
		{"*/a.go", []string{"dir/a.go", "dir.d/a.go"}, nil}, // not through link
		{"d*/*/a.go", []string{"dir/sub/a.go"}, nil},
		{"dir*", []string{"dir", "dir.d"}, nil},
		{"link/*.go", []string{"dir/a.go"}, nil}, // before the wildcard links are followed
		{"dir/loop/d*", []string{"dir", "dir.d"}, nil},
		{"dir/*/d*", nil, nil}, // behind it they are not
		{`dir/\**`, []string{"dir/*"}, nil},
		{`\[x?`, []string{"[x]"}, nil},
		{"*.go/*", nil, nil},
		{"a.go/*", nil, nil},
		{"*/", []string{"[x]", "a.go", "b.go", "c.txt", "dir", "dir.d", "l.go", "link", "é.txt"}, nil},
		{"nothing*", nil, nil},

		{"a.go", []string{"a.go"}, nil},
		{"gone", []string{"gone"}, nil},
		{"/link/../gone/", []string{"gone"}, nil},
		{"", []string{""}, nil},
		{".", []string{""}, nil},

		{"gone/*", nil, fs.ErrNotExist},
		{"a.go/x/*", nil, syscall.ENOTDIR},
		{"[", nil, path.ErrBadPattern},
		{"*/[a", nil, path.ErrBadPattern},
	} {
		got, err := v.Glob(tt.pattern)
		if !errors.Is(err, tt.err) || !slices.Equal(got, tt.want) {
			t.Errorf("%q: %q, %v; want %q, %v", tt.pattern, got, err, tt.want, tt.err)
		}
	}
}
