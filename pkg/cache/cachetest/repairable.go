package cachetest

import (
	"errors"
	"io"
	"testing"

	"github.com/slipway-build/slipway/pkg/cache"
)

func runRepairable(t *testing.T, newStore func(t *testing.T) cache.Store) {
	s, ok := newStore(t).(cache.Repairable)
	if !ok {
		t.Skip("this store cannot replace a damaged blob")
	}
	content := []byte("a blob")
	d, other := put(t, s, string(content)), put(t, s, "another")
	s.Distrust(d)
	reads := 0
	counted := func() (io.ReadCloser, error) { reads++; return bytesOf(content)() }
	for _, wrong := range []source{failing(errors.New("the disk is broken")), bytesOf([]byte("A BLOB"))} {
		if err := s.Put(t.Context(), d, wrong); err == nil {
			t.Error("what is not the blob takes its place")
		}
	}
	for range 2 { // the second finds it there
		if err := s.Put(t.Context(), d, counted); err != nil {
			t.Error(err)
		}
		wantBlob(t, s, d, content)
	}
	if reads != 1 {
		t.Errorf("the blob was read %d times after it was distrusted, and twice put", reads)
	}
	if err := s.Put(t.Context(), other, failing(errors.New("it was read"))); err != nil {
		t.Errorf("of another blob: %v", err)
	}
	absent := descriptor([]byte("absent"))
	s.Distrust(absent)
	wantNoBlob(t, s, absent)
	wantBlob(t, s, put(t, s, "absent"), []byte("absent"))
}
