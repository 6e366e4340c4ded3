package mounts

import (
	"maps"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// delta gives what has to be put on top of the earlier tree to have files: those that are new or
// differ, and whiteouts of those that are gone. Files of equal size and time are taken for equal.
func delta(files []layer.DirFile, earlier *tree.View) []layer.DirFile {
	root, err := earlier.Lookup("")
	if err != nil { // every tree has a root
		return files
	}
	here := map[string]*layer.DirFile{}
	for i := range files {
		here[files[i].Path] = &files[i]
	}
	before := map[string]*tree.Node{}
	for p, n := range root.Walk("") {
		before[p] = n
	}
	var out []layer.DirFile
	changed := map[string]bool{}
	for _, f := range files {
		n, known := before[f.Path]
		same := known && sameFile(&f, n)
		if f.Type == layer.Hardlink {
			// All names of a changed file go together.
			same = known && !changed[f.Link] && before[f.Link] != nil && before[f.Link].SameInode(n)
		}
		if !same {
			changed[f.Path] = true
			out = append(out, f)
		}
	}
	for p := range before {
		above, there := here[parent(p)]
		if _, stays := here[p]; p != "" && !stays && there && above.Type == layer.Directory {
			out = append(out, layer.DirFile{Entry: layer.Entry{Path: p, Type: layer.Whiteout}})
		}
	}
	return out
}

func sameFile(f *layer.DirFile, n *tree.Node) bool {
	e := n.Entry()
	return f.Type == e.Type && f.Mode == e.Mode && f.UID == e.UID && f.GID == e.GID && f.Size == e.Size &&
		f.Link == e.Link && f.ModTime.Equal(e.ModTime) && maps.Equal(f.Xattrs, e.Xattrs)
}

func parent(p string) string {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] == '/' {
			return p[:i]
		}
	}
	return ""
}
