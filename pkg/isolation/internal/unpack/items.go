package unpack

import (
	"context"
	"io"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Item is one file of the unpacked form of a layer, for who keeps it otherwise than in a directory.
type Item struct {
	Path string
	// Entry describes it; a layer.Whiteout is a whiteout of overlayfs. nil for a further name.
	Entry *layer.Entry
	// Opaque says that a directory hides what is below.
	Opaque bool
	// LinkTo is the path of the item that this is a further name of, else "".
	LinkTo string
	from   layer.Layer
}

// Open opens the content of a regular file.
func (i *Item) Open(ctx context.Context) (io.ReadCloser, error) {
	return i.from.Open(ctx, i.Entry.Path)
}

// LayerItems lists what the unpacked form of l consists of: directories before what is in them, the root
// first, further names last. tc may be nil if l is [SelfContained].
func LayerItems(ctx context.Context, l layer.Layer, tc *Context) ([]Item, error) {
	x, err := l.Index(ctx)
	if err != nil {
		return nil, err
	}
	p, err := planLayer(l, x, tc)
	if err != nil {
		return nil, err
	}
	return p.items(), nil
}

// ViewItems lists what a directory that holds a whole merged tree consists of, in such an order.
func ViewItems(v *tree.View) ([]Item, error) {
	p, err := planView(v)
	if err != nil {
		return nil, err
	}
	return p.items(), nil
}

func (p *plan) items() []Item {
	var items []Item
	for i := range p.dirs {
		d := &p.dirs[i]
		items = append(items, Item{Path: d.path, Entry: d.entry, Opaque: d.opaque})
	}
	for i := range p.dirs {
		d := &p.dirs[i]
		for _, f := range d.files {
			name := f.name
			if d.path != "" {
				name = d.path + "/" + name
			}
			items = append(items, Item{Path: name, Entry: f.entry, from: f.from})
		}
	}
	for _, l := range p.links {
		items = append(items, Item{Path: l.path, LinkTo: l.target})
	}
	return items
}
