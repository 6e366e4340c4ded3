package cachetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/cache"
)

// patience is how long a step of a test may take before it counts as hanging.
const patience = time.Minute

// gate is a reader that stops midway, at the word of the test.
type gate struct {
	before, after io.Reader
	reached, open chan struct{}
	stopped       bool
}

func newGate(data []byte) *gate {
	half := len(data) / 2
	return &gate{
		before: bytes.NewReader(data[:half]), after: bytes.NewReader(data[half:]),
		reached: make(chan struct{}), open: make(chan struct{}),
	}
}

func (g *gate) Read(p []byte) (int, error) {
	if n, err := g.before.Read(p); err == nil {
		return n, nil
	}
	if !g.stopped {
		g.stopped = true
		close(g.reached)
		<-g.open
	}
	return g.after.Read(p)
}

// await waits until the reader has stopped.
func (g *gate) await(t *testing.T) {
	t.Helper()
	select {
	case <-g.reached:
	case <-time.After(patience):
		close(g.open)
		t.Fatal("the store does not read the blob")
	}
}

// halves are large enough that stores that upload in parts have sent some at the half.
var halves = strings.Repeat("0123456789abcdef", 2<<20)

func testHalfWritten(t *testing.T, s cache.Store) {
	d := descriptor([]byte(halves))
	g := newGate([]byte(halves))
	done := make(chan error, 1)
	go func() { done <- s.Put(t.Context(), d, opener(g)) }()
	g.await(t)
	wantNoBlob(t, s, d)
	close(g.open)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantBlob(t, s, d, []byte(halves))
}

func testCancellation(t *testing.T, s cache.Store) {
	ctx, cancel := context.WithCancelCause(t.Context())
	content := []byte("canceled: " + halves)
	d, g := descriptor(content), newGate(content)
	done := make(chan error, 1)
	go func() { done <- s.Put(ctx, d, opener(g)) }()
	g.await(t)
	cancel(errors.New("the build was stopped"))
	close(g.open)
	select {
	case err := <-done:
		if err == nil {
			t.Error("a canceled Put succeeded")
		}
	case <-time.After(patience):
		t.Fatal("a canceled Put does not return")
	}
	wantNoBlob(t, s, d)

	kept := put(t, s, "kept")
	raw := manifestOf(t, kept)
	if err := s.PutManifest(ctx, "canceled", raw); err == nil {
		t.Error("a canceled PutManifest succeeded")
	}
	if _, err := s.Manifest(t.Context(), "canceled"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a canceled PutManifest left: %v", err)
	}
	if _, err := s.Manifest(ctx, "none"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a canceled Manifest: %v", err)
	}
	if r, err := s.Open(ctx, kept); err == nil {
		_, err = io.Copy(io.Discard, r)
		_ = r.Close() // what counts is whether it could be read
		if err == nil {
			t.Error("a blob could be read after the cancellation")
		}
	}
}

// testSameWriters has several write the same blob and the same manifest while others read.
func testSameWriters(t *testing.T, s cache.Store) {
	content := []byte(strings.Repeat("the same blob ", 50_000))
	d := descriptor(content)
	manifests := [][]byte{manifestOf(t, put(t, s, "one")), manifestOf(t, put(t, s, strings.Repeat("another", 1000)))}
	if err := s.PutManifest(t.Context(), "same", manifests[0]); err != nil {
		t.Fatal(err)
	}
	g, ctx := errgroup.WithContext(t.Context())
	for i := range 4 {
		g.Go(func() error { return s.Put(ctx, d, bytesOf(content)) })
		g.Go(func() error { return rewrite(ctx, s, manifests, i) })
		g.Go(func() error { return reread(ctx, s, manifests) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	wantBlob(t, s, d, content)
}

func rewrite(ctx context.Context, s cache.Store, manifests [][]byte, turn int) error {
	for i := range 5 {
		if err := s.PutManifest(ctx, "same", manifests[(turn+i)%2]); err != nil {
			return err
		}
	}
	return nil
}

func reread(ctx context.Context, s cache.Store, manifests [][]byte) error {
	for range 10 {
		got, err := s.Manifest(ctx, "same")
		if err != nil {
			return err
		}
		if !bytes.Equal(got, manifests[0]) && !bytes.Equal(got, manifests[1]) {
			return errors.New("a reader got a manifest that nobody wrote: " + string(got))
		}
	}
	return nil
}
