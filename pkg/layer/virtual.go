package layer

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// File is an entry together with the place of its content.
type File struct {
	Entry
	// Content is where the bytes of a Regular entry are; nil for an empty file
	// and for all other types.
	Content Content
}

// Content is the source of one file's bytes. It is safe for concurrent use.
type Content interface {
	// Open returns the bytes from their beginning.
	Open(ctx context.Context) (io.ReadCloser, error)
}

// Bytes is content that is held in memory. The slice must not be modified afterwards.
func Bytes(b []byte) Content { return bytesContent(b) }

type bytesContent []byte

func (b bytesContent) Open(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b)), nil
}

// From is the content of the Regular entry at path in l, which is not copied and not read
// before it is needed.
func From(l Layer, path string) Content { return &layerContent{l, path} }

type layerContent struct {
	layer Layer
	path  string
}

func (c *layerContent) Open(ctx context.Context) (io.ReadCloser, error) {
	return c.layer.Open(ctx, c.path)
}

// New returns the layer that consists of files, in any order; it takes ownership of the
// slice. COPY and heredocs make such layers: a table of contents over bytes that lie
// elsewhere. That the content has the entry's size is verified when it is read.
func New(files []File) (Layer, error) {
	entries := make([]Entry, len(files))
	for i := range files {
		f := &files[i]
		if f.Content != nil && f.Type != Regular {
			return nil, fmt.Errorf("layer: %q has content but is no regular file", f.Path)
		}
		if f.Content == nil && f.Size > 0 {
			return nil, fmt.Errorf("layer: %q has size %d but no content", f.Path, f.Size)
		}
		entries[i] = f.Entry
	}
	x, err := NewIndex(entries)
	if err != nil {
		return nil, err
	}
	l := &virtual{index: x, contents: make([]Content, len(files))}
	for i := range files {
		at, _ := x.Find(files[i].Path)
		l.contents[at] = files[i].Content
	}
	return l, nil
}

// Empty is the layer that changes nothing.
func Empty() Layer { return &virtual{index: &Index{}} }

type virtual struct {
	index    *Index
	contents []Content
}

func (l *virtual) Index(context.Context) (*Index, error) { return l.index, nil }

func (l *virtual) Open(ctx context.Context, path string) (io.ReadCloser, error) {
	return openByPath(ctx, l, path)
}

func (l *virtual) OpenAt(ctx context.Context, i int) (io.ReadCloser, error) {
	e, err := l.index.checkRegular(i)
	if err != nil {
		return nil, err
	}
	c := l.contents[i]
	if c == nil {
		c = bytesContent(nil)
	}
	rc, err := c.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", e.Path, err)
	}
	return newExactReader(rc, e.Path, e.Size, nil), nil
}
