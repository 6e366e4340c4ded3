package op_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
)

// downloads gives each URL the file of that content.
type downloads map[string]op.Download

func (d downloads) Download(_ context.Context, h *op.HTTP) (*op.Download, error) {
	f := d[h.URL]
	data := []byte(f.Name + " content")
	f.Size, f.Sum, f.Content = int64(len(data)), sha256.Sum256(data), layer.Bytes(data)
	return &f, nil
}

func TestRedactURL(t *testing.T) {
	for in, want := range map[string]string{
		"https://example.com/a#b":         "https://example.com/a#b",
		"https://token@example.com/a":     "https://xxxxx@example.com/a",
		"https://u:p@example.com/a?k=v":   "https://xxxxx@example.com/a?xxxxx",
		"ssh://git:p@example.com/a":       "ssh://git@example.com/a",
		"git@example.com:a/b.git":         "git@example.com:a/b.git",
		"https://example.com/a%2fb?x=%zz": "https://example.com/a%2fb?xxxxx",
	} {
		if got := op.RedactURL(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

func TestHTTP(t *testing.T) {
	modified := time.Date(2025, 5, 5, 5, 5, 5, 0, time.UTC)
	env := &op.Env{Downloads: downloads{"http://a/x": {Name: "x", ModTime: modified}, "http://b/x": {Name: "x"}, "http://a/y": {Name: "y"}}}
	h := op.HTTP{URL: "http://a/x", Mode: 0o600, UID: 1, GID: 2}
	out, err := h.Run(t.Context(), env, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := out[0].View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := v.Lookup("x")
	if err != nil {
		t.Fatal(err)
	}
	if e := n.Entry(); e.Mode != 0o600 || e.UID != 1 || e.GID != 2 || !e.ModTime.Equal(modified) || v.Len() != 2 {
		t.Errorf("got %+v", e)
	}
	if data, err := v.ReadFile(t.Context(), "x", 100); err != nil || string(data) != "x content" {
		t.Errorf("got %q, %v", data, err)
	}

	key := func(h op.HTTP) op.Key {
		k, err := h.Key(t.Context(), env, nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	same := h
	same.URL = "http://b/x"
	if key(h) != key(same) {
		t.Error("the key depends on where the file is from, or on its age")
	}
	for name, change := range map[string]func(*op.HTTP){
		"content": func(h *op.HTTP) { h.URL = "http://a/y" },
		"mode":    func(h *op.HTTP) { h.Mode = 0o644 },
		"owner":   func(h *op.HTTP) { h.UID = 3 },
		"group":   func(h *op.HTTP) { h.GID = 3 },
	} {
		other := h
		change(&other)
		if key(h) == key(other) {
			t.Errorf("the key does not depend on the %s", name)
		}
	}
}
