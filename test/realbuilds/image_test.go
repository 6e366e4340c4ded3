package realbuilds

import (
	"archive/tar"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/testbase"
)

// attribute is what the names of extended attributes begin with in a tar.
const attribute = "SCHILY.xattr."

// built is an image as its layers describe it.
type built struct {
	entries []string               // all but times, sizes and contents, one line each
	headers map[string]*tar.Header // by name, the uppermost
	files   map[string][]byte      // contents, the same way
}

// read reads the one image of an OCI layout, without the layers of a base image that is the first one.
func read(t testing.TB, dir string, baseLayers int) *built {
	t.Helper()
	image, err := testbase.ReadLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	b := &built{headers: map[string]*tar.Header{}, files: map[string][]byte{}}
	for i, l := range layers[baseLayers:] {
		if err := b.add(i, l); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (b *built) add(number int, l v1.Layer) error {
	return testbase.EachEntry(l, func(h *tar.Header, content []byte) {
		b.headers[h.Name] = h
		if h.Typeflag == tar.TypeReg {
			b.files[h.Name] = content
		}
		b.entries = append(b.entries, describe(number, h))
	})
}

// describe tells of a file what does not depend on when it was made.
func describe(layer int, h *tar.Header) string {
	line := fmt.Sprintf("layer %d: %c %04o %d:%d %s", layer, h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name)
	if h.Linkname != "" {
		line += " -> " + h.Linkname
	}
	if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
		line += fmt.Sprintf(" device %d:%d", h.Devmajor, h.Devminor)
	}
	for _, name := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if strings.HasPrefix(name, attribute) {
			line += fmt.Sprintf(" %s=%q", strings.TrimPrefix(name, attribute), h.PAXRecords[name])
		}
	}
	return line
}

// differences lists the lines that only one of two sorted lists has.
func differences(want, got []string) []string {
	var all []string
	for _, line := range want {
		if _, found := slices.BinarySearch(got, line); !found {
			all = append(all, "- "+line)
		}
	}
	for _, line := range got {
		if _, found := slices.BinarySearch(want, line); !found {
			all = append(all, "+ "+line)
		}
	}
	return all
}

// wantFile expects a file with a content, in which runs of white space do not count.
func (b *built) wantFile(t *testing.T, name, content string) {
	t.Helper()
	data, ok := b.files[name]
	if got := strings.Join(strings.Fields(string(data)), " "); !ok || got != content {
		t.Errorf("%s holds %q, want %q", path.Clean("/"+name), got, content)
	}
}

// wantEntry expects type, mode, owner and further properties of a file, in the form of describe.
func (b *built) wantEntry(t *testing.T, name, properties string) {
	t.Helper()
	h, ok := b.headers[name]
	if !ok {
		t.Errorf("the image has no %s", name)
		return
	}
	_, got, _ := strings.Cut(describe(0, h), ": ")
	got = strings.Replace(got, " "+name, "", 1)
	if got != properties {
		t.Errorf("%s is %s, want %s", name, got, properties)
	}
}
