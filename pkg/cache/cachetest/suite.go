// Package cachetest is the contract of cache.Store as a suite of tests, which every store passes.
package cachetest

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/cache"
)

// Run tests the store that newStore makes, anew and empty for each test.
func Run(t *testing.T, newStore func(t *testing.T) cache.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s cache.Store)
	}{
		{"manifests", testManifests},
		{"names", testNames},
		{"blobs", testBlobs},
		{"a blob that is there is not read", testBlobThere},
		{"what is not the blob is not kept", testWrongBlob},
		{"a large blob", testLargeBlob},
		{"layers", testLayer},
		{"nothing half-written is visible", testHalfWritten},
		{"writers of the same", testSameWriters},
		{"cancellation", testCancellation},
		{"where it is", testString},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, newStore(t)) })
	}
	t.Run("repairing", func(t *testing.T) { runRepairable(t, newStore) })
	t.Run("pruning", func(t *testing.T) { runPrunable(t, newStore) })
}

func testManifests(t *testing.T, s cache.Store) {
	if _, err := s.Manifest(t.Context(), "record-1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a manifest that there is not: %v", err)
	}
	first, second := manifestOf(t, put(t, s, "first")), manifestOf(t, put(t, s, "second"))
	for _, m := range [][]byte{first, second} { // the second in place of the first
		if err := s.PutManifest(t.Context(), "record-1", m); err != nil {
			t.Fatal(err)
		}
		wantManifest(t, s, "record-1", m)
	}
	if _, err := s.Manifest(t.Context(), "record-2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another manifest that there is not: %v", err)
	}
}

func testNames(t *testing.T, s cache.Store) {
	names := []string{
		"a", "A", "0", "a.b", "a..b", "a--b", "a__b", "a.tmp", "a.json", "a.json.1.tmp", "latest",
		strings.Repeat("x", 128), "sha256-" + strings.Repeat("0f", 32),
	}
	manifests := map[string][]byte{}
	for _, name := range names {
		manifests[name] = manifestOf(t, put(t, s, "what is under "+name))
		if err := s.PutManifest(t.Context(), name, manifests[name]); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	for _, name := range names {
		wantManifest(t, s, name, manifests[name])
	}
	for _, name := range []string{"", ".", "..", "../a", "a/b", "-a", "a b", "a\n", "ä", strings.Repeat("x", 129)} {
		if err := s.PutManifest(t.Context(), name, manifests["a"]); err == nil {
			t.Errorf("the name %q is accepted", name)
		}
		if _, err := s.Manifest(t.Context(), name); err == nil {
			t.Errorf("there is something under the name %q", name)
		}
	}
}

func testBlobs(t *testing.T, s cache.Store) {
	absent := descriptor([]byte("absent"))
	if r, err := s.Open(t.Context(), absent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a blob that there is not: %v, %v", r, err)
	}
	for _, content := range []string{"x", "a blob", strings.Repeat("long ", 100_000), "\x00\xff\r\n"} {
		d := put(t, s, content)
		wantBlob(t, s, d, []byte(content))
		if has, err := s.Has(t.Context(), d); !has || err != nil {
			t.Errorf("has a blob that was put: %v, %v", has, err)
		}
	}
}

func testBlobThere(t *testing.T, s cache.Store) {
	d := put(t, s, "once")
	if err := s.Put(t.Context(), d, opener(failingReader{errors.New("it was read")})); err != nil {
		t.Error(err)
	}
	wantBlob(t, s, d, []byte("once"))
}

func testWrongBlob(t *testing.T, s cache.Store) {
	right := bytes.Repeat([]byte("right "), 200_000)
	wrong := bytes.Repeat([]byte("wrong "), 200_000)
	failure := errors.New("the disk is broken")
	for _, test := range []struct {
		name string
		put  source
	}{
		{"other content", bytesOf(wrong)},
		{"less", bytesOf(right[:len(right)-1])},
		{"nothing", bytesOf(nil)},
		{"more", bytesOf(append(bytes.Clone(right), '!'))},
		{"a reader that fails", opener(failingReader{failure})},
		{"a reader that fails midway", opener(failingAfter(right[:700_000], failure))},
		{"one that cannot be opened", failing(failure)},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := descriptor(right)
			if err := s.Put(t.Context(), d, test.put); err == nil {
				t.Error("it is accepted")
			}
			wantNoBlob(t, s, d)
		})
	}
	d := descriptor(right)
	if err := s.Put(t.Context(), d, bytesOf(right)); err != nil { // what went before is in nobody's way
		t.Fatal(err)
	}
	wantBlob(t, s, d, right)
}

func testString(t *testing.T, s cache.Store) {
	if s.String() == "" {
		t.Error("the store does not say where it is")
	}
	for _, word := range []string{"secret", "password", "?", "sig="} {
		if strings.Contains(s.String(), word) {
			t.Errorf("%q contains %q", s, word)
		}
	}
}
