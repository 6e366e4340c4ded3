package swap

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Pins are the paths that stay where they are: the mount points of the pod, the directory that
// trees are kept in, and what the builder itself needs meanwhile. Paths are relative to the
// root, without a leading slash.
type Pins struct {
	pinned, above map[string]bool
}

// NewPins makes a set of pins.
func NewPins(paths ...string) *Pins {
	p := &Pins{pinned: map[string]bool{}, above: map[string]bool{}}
	for _, path := range paths {
		if path == "" {
			continue
		}
		p.pinned[path] = true
		for up := parentOf(path); up != ""; up = parentOf(up) {
			p.above[up] = true
		}
	}
	return p
}

// Pinned reports whether path itself stays.
func (p *Pins) Pinned(path string) bool { return p.pinned[path] }

// Above reports whether something below path stays, so that path cannot be moved as a whole.
func (p *Pins) Above(path string) bool { return p.above[path] && !p.pinned[path] }

// Parents lists the paths that are above pins and none themselves, each before those below it.
func (p *Pins) Parents() []string {
	var paths []string
	for path := range p.above {
		if !p.Covers(path) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths
}

// Covers reports whether path is a pin or below one.
func (p *Pins) Covers(path string) bool {
	for ; path != ""; path = parentOf(path) {
		if p.pinned[path] {
			return true
		}
	}
	return false
}

func parentOf(p string) string { return p[:max(strings.LastIndexByte(p, '/'), 0)] }

// MountPoints lists what is mounted below root, relative to it and sorted, from the text of
// /proc/self/mountinfo (proc(5)), in which spaces and other characters are octal escapes.
func MountPoints(text, root string) ([]string, error) {
	infos, err := mountinfo.GetMountsFromReader(strings.NewReader(text), nil)
	if err != nil {
		return nil, fmt.Errorf("reading the mount points: %w", err)
	}
	var points []string
	for _, info := range infos {
		rel, ok := Below(root, info.Mountpoint)
		if ok && rel != "" {
			points = append(points, rel)
		}
	}
	slices.Sort(points)
	return slices.Compact(points), nil
}

// Below gives path relative to root, "" for root itself; false if it is not below.
func Below(root, path string) (string, bool) {
	root, path = filepath.Clean(root), filepath.Clean(path)
	if root == path {
		return "", true
	}
	return strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
}
