package cachetest

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/cache"
)

func runPrunable(t *testing.T, newStore func(t *testing.T) cache.Store) {
	if _, ok := newStore(t).(cache.Prunable); !ok {
		t.Skip("this store cannot be pruned")
	}
	for name, test := range map[string]func(t *testing.T, s cache.Prunable){
		"list":                           testList,
		"remove":                         testRemove,
		"young blobs are spared":         testGrace,
		"a manifest under another name":  testSameManifest,
		"what is not there":              testRemoveAbsent,
		"what was removed can come back": testReturn,
	} {
		t.Run(name, func(t *testing.T) { test(t, newStore(t).(cache.Prunable)) })
	}
}

func testList(t *testing.T, s cache.Prunable) {
	if all, err := s.List(t.Context()); len(all) != 0 || err != nil {
		t.Errorf("an empty store lists %v, %v", all, err)
	}
	raw := manifestOf(t, put(t, s, "a blob"))
	var want []string
	for i := range 30 {
		want = append(want, fmt.Sprintf("record-%02d.json", i))
		putManifest(t, s, want[i], raw)
	}
	all, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range all {
		got = append(got, l.Name)
		if age := time.Since(l.Modified); !l.Modified.IsZero() && (age < -time.Hour || age > time.Hour) {
			t.Errorf("%s, just written, was modified at %s", l.Name, l.Modified)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the store lists %q", got)
	}
}

func testRemove(t *testing.T, s cache.Prunable) {
	shared, only, other := put(t, s, "shared"), put(t, s, "of the removed one only"), put(t, s, "of the other only")
	kept := manifestOf(t, shared, other)
	putManifest(t, s, "removed", manifestOf(t, shared, only))
	putManifest(t, s, "kept", kept)
	freed, err := s.Remove(t.Context(), []string{"removed"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Manifest(t.Context(), "removed"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the removed manifest: %v", err)
	}
	wantManifest(t, s, "kept", kept)
	wantBlob(t, s, shared, []byte("shared"))
	wantBlob(t, s, other, []byte("of the other only"))
	wantNames(t, s, "kept")
	if freed == 0 { // the store frees them later itself
		return
	}
	if freed != only.Size {
		t.Errorf("%d bytes were freed instead of %d", freed, only.Size)
	}
	wantNoBlob(t, s, only)
}

func testGrace(t *testing.T, s cache.Prunable) {
	// A build has put a blob and not yet the manifest that will refer to it.
	young := put(t, s, "young")
	putManifest(t, s, "removed", manifestOf(t, put(t, s, "old")))
	freed, err := s.Remove(t.Context(), []string{"removed"}, time.Hour)
	if freed != 0 || err != nil {
		t.Errorf("%d bytes were freed, %v", freed, err)
	}
	wantBlob(t, s, young, []byte("young"))
	putManifest(t, s, "record", manifestOf(t, young))
	wantNames(t, s, "record")
}

func testSameManifest(t *testing.T, s cache.Prunable) {
	raw := manifestOf(t, put(t, s, "a blob"))
	putManifest(t, s, "one", raw)
	putManifest(t, s, "two", raw)
	putManifest(t, s, "three", raw)
	if _, err := s.Remove(t.Context(), []string{"one", "two"}, 0); err != nil {
		t.Log(err) // a registry may not be able to; then it has to leave both
		wantManifest(t, s, "one", raw)
	} else {
		wantNames(t, s, "three")
	}
	wantManifest(t, s, "three", raw)
	if _, err := s.Remove(t.Context(), []string{"one", "two", "three"}, 0); err != nil {
		t.Fatal(err)
	}
	wantNames(t, s)
}

func testRemoveAbsent(t *testing.T, s cache.Prunable) {
	raw := manifestOf(t, put(t, s, "a blob"))
	putManifest(t, s, "kept", raw)
	// Another one was faster.
	if freed, err := s.Remove(t.Context(), []string{"absent"}, 0); freed != 0 || err != nil {
		t.Errorf("%d bytes were freed, %v", freed, err)
	}
	wantManifest(t, s, "kept", raw)
}

func testReturn(t *testing.T, s cache.Prunable) {
	raw := manifestOf(t, put(t, s, "a blob"))
	putManifest(t, s, "record", raw)
	if _, err := s.Remove(t.Context(), []string{"record"}, 0); err != nil {
		t.Fatal(err)
	}
	d := put(t, s, "a blob")
	putManifest(t, s, "record", raw)
	wantManifest(t, s, "record", raw)
	wantBlob(t, s, d, []byte("a blob"))
}

func putManifest(t *testing.T, s cache.Store, name string, raw []byte) {
	t.Helper()
	if err := s.PutManifest(t.Context(), name, raw); err != nil {
		t.Fatal(err)
	}
}

func wantNames(t *testing.T, s cache.Prunable, want ...string) {
	t.Helper()
	all, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range all {
		got = append(got, l.Name)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the store lists %q instead of %q", got, want)
	}
}
