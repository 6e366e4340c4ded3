package layer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/layer"
)

// waiting is a file's content that reports when it is opened and then waits for the reading to end, or for go.
type waiting struct {
	opened chan struct{}
	goOn   chan struct{}
}

func (w *waiting) Open(ctx context.Context) (io.ReadCloser, error) {
	w.opened <- struct{}{}
	select {
	case <-w.goOn:
		return io.NopCloser(bytes.NewReader([]byte("x"))), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func waitingLayer(t *testing.T) (layer.Layer, *waiting) {
	t.Helper()
	w := &waiting{opened: make(chan struct{}, 10), goOn: make(chan struct{})}
	l, err := layer.New([]layer.File{{Entry: layer.Entry{Path: "f", Type: layer.Regular, Size: 1, ModTime: time.Unix(1, 0)}, Content: w}})
	if err != nil {
		t.Fatal(err)
	}
	return l, w
}

// Whoever asks for what is written ahead gets that, and it is not written again.
func TestWriterAhead(t *testing.T) {
	w := layer.NewWriter(t.Context(), stateDir(t))
	form := layer.Form{Compression: compression.Options{}}
	l, content := waitingLayer(t)
	w.Ahead(l, form)
	<-content.opened
	close(content.goOn)
	if _, err := w.Write(t.Context(), l, form); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(content.opened); n != 0 {
		t.Errorf("the content was read %d times more", n)
	}
}

// Close ends what nobody waits for, whether it has begun or waits for its turn.
func TestWriterClose(t *testing.T) {
	w := layer.NewWriter(t.Context(), stateDir(t))
	var contents []*waiting
	for range 5 {
		l, content := waitingLayer(t)
		contents = append(contents, content)
		w.Ahead(l, layer.Form{})
	}
	opened := 0
	for opened == 0 {
		for _, c := range contents {
			select {
			case <-c.opened:
				opened++
			case <-time.After(time.Millisecond):
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, _ := waitingLayer(t)
	if _, err := w.Write(t.Context(), l, layer.Form{}); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a closed writer writes: %v", err)
	}
}
