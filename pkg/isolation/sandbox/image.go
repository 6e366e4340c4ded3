package sandbox

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/unpack"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/erofs"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/guest"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// What the directory of a layer holds.
const (
	imageName      = "image"      // an EROFS image
	supplementName = "supplement" // what that cannot hold, as gob; missing if there is nothing
)

// form is that of a layer whose files lie in an EROFS image. gVisor's EROFS has no extended attributes
// and no device numbers, and with them no opaque directories: what those hide is hidden by whiteouts.
// It implements lowers.Form.
type form struct{}

// Variant implements lowers.Form.
func (form) Variant() string { return "erofs-v1" }

// SelfContained implements lowers.Form.
func (form) SelfContained(x *layer.Index, below *tree.View) bool {
	for e := range x.All() {
		if e.Opaque && e.Path != "" {
			return false
		}
	}
	return unpack.SelfContained(x, below)
}

// Layer implements lowers.Form.
func (form) Layer(ctx context.Context, l layer.Layer, tc *unpack.Context, dir string) error {
	items, err := unpack.LayerItems(ctx, l, tc)
	if err != nil {
		return fmt.Errorf("making the image of a layer: %w", err)
	}
	if tc != nil {
		items = hide(items, tc.Below)
	}
	return write(ctx, items, dir)
}

// View implements lowers.Form.
func (form) View(ctx context.Context, v *tree.View, dir string) error {
	items, err := unpack.ViewItems(v)
	if err != nil {
		return fmt.Errorf("making the image of a tree: %w", err)
	}
	return write(ctx, items, dir)
}

// hide adds whiteouts of all that is below opaque directories and not replaced in them.
func hide(items []unpack.Item, below *tree.View) []unpack.Item {
	has := map[string]bool{}
	for i := range items {
		has[items[i].Path] = true
	}
	opaque := map[string]bool{}
	for i := range items[:len(items):len(items)] {
		d := &items[i]
		if d.Entry == nil || d.Entry.Type != layer.Directory || d.Path == "" {
			continue
		}
		parent := d.Path[:max(strings.LastIndexByte(d.Path, '/'), 0)]
		if !d.Opaque && !opaque[parent] {
			continue
		}
		opaque[d.Path] = true
		n, err := below.LookupNoFollow(d.Path)
		if err != nil || !n.IsDir() {
			continue
		}
		for child := range n.Children() {
			if p := d.Path + "/" + child.Name(); !has[p] {
				items = append(items, unpack.Item{Path: p, Entry: &layer.Entry{Path: p, Type: layer.Whiteout}})
			}
		}
	}
	return items
}

// write writes what the items are into the empty directory dir.
func write(ctx context.Context, items []unpack.Item, dir string) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, imageName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	nodes, sources := nodesOf(items)
	_, err = erofs.Write(ctx, f, nodes, func(ctx context.Context, i int) (io.ReadCloser, error) { return sources[i].Open(ctx) })
	if err != nil {
		return fmt.Errorf("making the image of a layer: %w", err)
	}
	return writeSupplement(supplement(items), dir)
}

// nodesOf lists the files of the image, and for each the item that it is of.
func nodesOf(items []unpack.Item) ([]erofs.Node, []*unpack.Item) {
	devices := map[string]bool{} // which are not in the image
	var nodes []erofs.Node
	var sources []*unpack.Item
	for i := range items {
		it := &items[i]
		if it.Entry != nil && isDevice(it.Entry) || devices[it.LinkTo] {
			devices[it.Path] = true
			continue
		}
		n := erofs.Node{Path: it.Path, HardlinkTo: it.LinkTo}
		if e := it.Entry; e != nil {
			n.Mode, n.UID, n.GID, n.ModTime = mode(e), e.UID, e.GID, e.ModTime
			n.Size, n.Link = e.Size, ""
			if e.Type == layer.Symlink {
				n.Link = e.Link
			}
		}
		nodes, sources = append(nodes, n), append(sources, it)
	}
	return nodes, sources
}

func isDevice(e *layer.Entry) bool { return e.Type == layer.CharDevice || e.Type == layer.BlockDevice }

// mode is an entry's type and mode as in st_mode(2). A whiteout is a device 0:0.
func mode(e *layer.Entry) uint32 {
	switch m := uint32(e.Mode); e.Type {
	case layer.Directory:
		return unix.S_IFDIR | m
	case layer.Symlink:
		return unix.S_IFLNK | 0o777
	case layer.CharDevice:
		return unix.S_IFCHR | m
	case layer.BlockDevice:
		return unix.S_IFBLK | m
	case layer.Fifo:
		return unix.S_IFIFO | m
	case layer.Whiteout:
		return unix.S_IFCHR
	default:
		return unix.S_IFREG | m
	}
}

// supplement lists what the image cannot hold, and the directories that it lies in.
func supplement(items []unpack.Item) []guest.File {
	wanted := map[string]bool{}
	want := func(p string) {
		for ; !wanted[p]; p = p[:max(strings.LastIndexByte(p, '/'), 0)] {
			wanted[p] = true
		}
	}
	for i := range items {
		it := &items[i]
		if it.Entry != nil && (isDevice(it.Entry) || len(attributes(it.Entry)) > 0) {
			want(it.Path)
		}
	}
	for i := range items { // a further name belongs to its file
		if it := &items[i]; it.LinkTo != "" && wanted[it.LinkTo] {
			want(it.Path)
		}
	}
	var files []guest.File
	for i := range items {
		it := &items[i]
		if !wanted[it.Path] {
			continue
		}
		f := guest.File{Path: it.Path, Same: it.LinkTo}
		if it.Entry != nil {
			f = file(it.Path, it.Entry)
		}
		files = append(files, f)
	}
	return files
}

// attributes are the extended attributes of e, but for those that overlayfs would take for its own.
func attributes(e *layer.Entry) map[string]string {
	kept := maps.Clone(e.Xattrs)
	maps.DeleteFunc(kept, func(name, _ string) bool { return overlay.Private(name) })
	return kept
}

// file describes what e says of the file at a path.
func file(path string, e *layer.Entry) guest.File {
	f := guest.File{
		Path: path, Mode: mode(e), UID: e.UID, GID: e.GID, ModTime: e.ModTime,
		Major: e.Major, Minor: e.Minor, Xattrs: attributes(e),
	}
	if e.Type == layer.Symlink {
		f.Link = e.Link
	}
	return f
}

func writeSupplement(files []guest.File, dir string) (err error) {
	if len(files) == 0 {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(dir, supplementName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return gob.NewEncoder(f).Encode(files)
}

// readSupplement reads what writeSupplement wrote.
func readSupplement(dir string) ([]guest.File, error) {
	f, err := os.Open(filepath.Join(dir, supplementName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var files []guest.File
	if err := gob.NewDecoder(f).Decode(&files); err != nil {
		return nil, fmt.Errorf("reading %s: %w", f.Name(), err)
	}
	return files, nil
}
