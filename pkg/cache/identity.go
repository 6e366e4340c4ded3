package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/memo"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Identity is a digest of what the layers of trees are, whatever keys they were found by: layers of
// images count by their diffIDs, those that a build made by their content without times.
//
// A key says what was asked for, and a RUN that is asked for twice need not give the same twice. A
// record therefore holds only on trees that have the identity of those it was made on: layers of
// different executions never get mixed.
type Identity [32]byte

// identities computes identities, each part of them once.
type identities struct {
	writer *layer.Writer
	form   layer.Form
	layers memo.Memo[layer.Layer, layer.Sum]
}

// of returns the identity of trees. Where a layer was made by this build, that may mean to write it.
func (x *identities) of(ctx context.Context, trees ...*tree.Tree) (Identity, error) {
	h := sha256.New()
	h.Write([]byte("slipway identity v1\x00"))
	for _, t := range trees {
		layers := t.Layers()
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(layers))))
		for _, l := range layers {
			sum, err := x.layer(ctx, l)
			if err != nil {
				return Identity{}, err
			}
			h.Write(sum[:])
		}
	}
	return Identity(h.Sum(nil)), nil
}

// known reports whether the identity costs next to nothing: no layer was made by this build.
func known(trees ...*tree.Tree) bool {
	for _, t := range trees {
		for ; t.Depth() > 0; t = t.Parent() {
			if _, isBlob := t.Top().(layer.Blob); !isBlob {
				return false
			}
		}
	}
	return true
}

func (x *identities) layer(ctx context.Context, l layer.Layer) (layer.Sum, error) {
	if s, ok := l.(*storedLayer); ok {
		return s.output.Content, nil
	}
	return x.layers.Do(ctx, x.writer.Life(), l, func(ctx context.Context) (layer.Sum, error) {
		if b, isBlob := l.(layer.Blob); isBlob {
			diffID, err := b.Blob().DiffID()
			return sha256.Sum256([]byte("slipway image layer\x00" + diffID.String())), err
		}
		b, err := x.writer.Write(ctx, l, x.form)
		if err != nil {
			return layer.Sum{}, err
		}
		index, err := b.Index(ctx)
		if err != nil {
			return layer.Sum{}, err
		}
		return index.ContentDigest()
	})
}
