package cache_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/bucket"
	"github.com/slipway-build/slipway/pkg/cache/cachetest"
)

// undated is a store that does not know when its manifests were made, as registries do not.
type undated struct{ cache.Prunable }

func (s undated) List(ctx context.Context) ([]cache.Listed, error) {
	all, err := s.Prunable.List(ctx)
	for i := range all {
		all[i].Modified = time.Time{}
	}
	return all, err
}

var now = time.Date(2030, 1, 31, 12, 0, 0, 0, time.UTC)

// putRecord keeps a record of so many days ago with one layer.
func putRecord(t *testing.T, s cache.Store, name string, days int, content string) {
	t.Helper()
	cachetest.PutRecord(t, s, name, cache.Record{Created: now.AddDate(0, 0, -days), Step: "RUN " + name}, content, "")
}

// The layers have 1000 bytes each, all records share a config of 2 bytes and an index of none.
func TestPrune(t *testing.T) {
	for _, test := range []struct {
		name    string
		options cache.PruneOptions
		removed string
		freed   int64
		kept    int64
	}{
		{"nothing is asked for", cache.PruneOptions{}, "", 0, 3002},
		{"all are young enough", cache.PruneOptions{MaxAge: 366 * 24 * time.Hour}, "", 0, 3002},
		{"age", cache.PruneOptions{MaxAge: 10 * 24 * time.Hour}, "record-30 record-20", 1000, 2002},
		{"size", cache.PruneOptions{MaxSize: 2500}, "record-30 record-20", 1000, 2002},
		{"a size that all have", cache.PruneOptions{MaxSize: 3002}, "", 0, 3002},
		{"size for one", cache.PruneOptions{MaxSize: 1002}, "record-30 record-20 record-2", 2000, 1002},
		{"no room", cache.PruneOptions{MaxSize: 1}, "record-30 record-20 record-2 record-1", 3002, 0},
		{"age and size", cache.PruneOptions{MaxAge: 25 * 24 * time.Hour, MaxSize: 1500}, "record-30 record-20 record-2", 2000, 1002},
	} {
		for _, dry := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, dry run %t", test.name, dry), func(t *testing.T) {
				s := undated{bucket.Memory(t.Context())}
				shared := strings.Repeat("s", 1000)
				putRecord(t, s, "record-20", 20, shared)
				putRecord(t, s, "record-30", 30, shared)
				putRecord(t, s, "record-1", 1, strings.Repeat("1", 1000))
				putRecord(t, s, "record-2", 2, strings.Repeat("2", 1000))
				foreign := `{"schemaVersion":2,"config":{"digest":"` + cachetest.PutBlob(t, s, types.OCILayer, "foreign").Digest.String() + `"}}`
				if err := s.PutManifest(t.Context(), "latest", []byte(foreign)); err != nil {
					t.Fatal(err)
				}
				o := test.options
				o.Now, o.DryRun = now, dry
				r, err := cache.Prune(t.Context(), s, o)
				if err != nil {
					t.Fatal(err)
				}
				removed := strings.Fields(test.removed)
				var got []string
				for _, e := range r.Removed {
					got = append(got, e.Name)
					if e.Step != "RUN "+e.Name || e.Size != 1002 {
						t.Errorf("%s is reported as %q with %d bytes", e.Name, e.Step, e.Size)
					}
				}
				if !slices.Equal(got, removed) {
					t.Errorf("removed are %q instead of %q", got, removed)
				}
				if r.Freed != test.freed || r.KeptSize != test.kept || r.Kept != 4-len(removed) || r.Foreign != 1 {
					t.Errorf("the report is %+v", r)
				}
				if dry {
					removed = nil
				}
				all, err := s.List(t.Context())
				if err != nil || len(all) != 5-len(removed) {
					t.Errorf("the store lists %v, %v", all, err)
				}
				if _, err := s.Manifest(t.Context(), "latest"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// TestPruneByModification counts the age from when the store got an entry, if it knows.
func TestPruneByModification(t *testing.T) {
	s := bucket.Memory(t.Context())
	putRecord(t, s, "record-1", 1000, "a reproducible build of long ago")
	o := cache.PruneOptions{MaxAge: time.Hour, Now: time.Now(), DryRun: true}
	if r, err := cache.Prune(t.Context(), s, o); err != nil || len(r.Removed) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	o.Now = o.Now.Add(2 * time.Hour)
	if r, err := cache.Prune(t.Context(), s, o); err != nil || len(r.Removed) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
