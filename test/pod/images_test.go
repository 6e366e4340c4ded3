package pod_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/test/pod"
)

// readImage reads the one image of an OCI layout, and checks it.
func readImage(t *testing.T, dir string) v1.Image {
	t.Helper()
	image, err := testbase.ReadLayout(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	return image
}

// eachEntry calls f with the entries of all layers, each with its content.
func eachEntry(t *testing.T, image v1.Image, f func(layer int, h *tar.Header, content []byte)) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range layers {
		if err := testbase.EachEntry(l, func(h *tar.Header, content []byte) { f(i, h, content) }); err != nil {
			t.Fatal(err)
		}
	}
}

// describe tells all that a layer says of its files, one line an entry.
func describe(t *testing.T, image v1.Image) []string {
	t.Helper()
	var lines []string
	eachEntry(t, image, func(layer int, h *tar.Header, content []byte) {
		line := fmt.Sprintf("layer %d: %q type %c mode %#o owner %d:%d (%q:%q) size %d time %d device %d,%d link %q content %.6x",
			layer, h.Name, h.Typeflag, h.Mode, h.Uid, h.Gid, h.Uname, h.Gname, h.Size, h.ModTime.UnixNano(), h.Devmajor, h.Devminor,
			h.Linkname, sha256.Sum256(content))
		for _, name := range slices.Sorted(maps.Keys(h.PAXRecords)) {
			line += fmt.Sprintf(" %s=%q", name, h.PAXRecords[name])
		}
		lines = append(lines, line)
	})
	return lines
}

// ownNames lists the entries of the layers that the build made, those of the base image left out.
func ownNames(t *testing.T, image v1.Image) []string {
	t.Helper()
	var names []string
	eachEntry(t, image, func(layer int, h *tar.Header, _ []byte) {
		if layer > 0 {
			names = append(names, h.Name)
		}
	})
	return names
}

// imageFile gives what the uppermost layer that has a file says is in it.
func imageFile(t *testing.T, image v1.Image, name string) string {
	t.Helper()
	content, found := "", false
	eachEntry(t, image, func(_ int, h *tar.Header, data []byte) {
		if h.Name == name {
			content, found = string(data), true
		}
	})
	if !found {
		t.Errorf("the image has no %s", name)
	}
	return content
}

// holding lists the files below dir that have text in them, in their names or targets; what
// is compressed with gzip is looked into.
func holding(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		has := strings.Contains(entry.Name(), text)
		switch {
		case entry.Type().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			has = has || bytes.Contains(data, []byte(text)) || bytes.Contains(unzipped(data), []byte(text))
		case entry.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			has = has || strings.Contains(target, text)
		}
		if has {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// unzipped decompresses data as far as that is possible.
func unzipped(data []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	out, _ := io.ReadAll(r) // what is cut off can be searched too
	return out
}

// sameAsBefore expects that a container left its own root filesystem as it was, but for trees that it may leave.
func sameAsBefore(t *testing.T, result pod.Result) {
	t.Helper()
	for _, c := range pod.BesideTrees(result.RootDiff) {
		t.Errorf("the container's root changed: %s", c)
	}
}

// noImage expects that a build that failed left nothing that could be taken for an image.
func noImage(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an image is there: %v", err)
	}
}
