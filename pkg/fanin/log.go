package fanin

import (
	"fmt"
	"io"
	"sync"

	"github.com/docker/go-units"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// log writes lines for the user. It is safe for concurrent use.
type log struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *log) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format+"\n", args...)
}

func (l *log) warn(message string) { l.printf("warning: %s", message) }

// notedImage says in the log that it is copied, which nobody asks its layers for otherwise: an image
// that the target has is known by its digest.
type notedImage struct {
	v1.Image
	log  *log
	name string
}

// Layers implements v1.Image.
func (i *notedImage) Layers() ([]v1.Layer, error) {
	i.log.printf("copying %s", i.name)
	layers, err := i.Image.Layers()
	noted := make([]v1.Layer, len(layers))
	for n, l := range layers {
		noted[n] = i.noted(l)
	}
	return noted, err
}

// ConfigLayer is the config as a blob (see partial.ConfigLayer).
func (i *notedImage) ConfigLayer() (v1.Layer, error) {
	l, err := partial.ConfigLayer(i.Image)
	if err != nil {
		return nil, err
	}
	return i.noted(l), nil
}

// noted keeps a blob mountable.
func (i *notedImage) noted(l v1.Layer) v1.Layer {
	if m, ok := l.(*remote.MountableLayer); ok {
		return &remote.MountableLayer{Layer: &notedBlob{m.Layer, i.log}, Reference: m.Reference}
	}
	return &notedBlob{l, i.log}
}

// notedBlob says in the log that its bytes are sent, as they are not if a registry mounts it.
type notedBlob struct {
	v1.Layer
	log *log
}

// Compressed implements v1.Layer.
func (b *notedBlob) Compressed() (io.ReadCloser, error) {
	digest, err := b.Digest()
	if err != nil {
		return nil, err
	}
	size, err := b.Size()
	if err != nil {
		return nil, err
	}
	b.log.printf("sending blob %s, %s", digest, units.HumanSize(float64(size)))
	return b.Layer.Compressed()
}
