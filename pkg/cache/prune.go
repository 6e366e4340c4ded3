package cache

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

// PruneOptions say what is to go.
type PruneOptions struct {
	// MaxAge is how old an entry may be; 0 stands for any age.
	MaxAge time.Duration
	// MaxSize is how large the blobs of all entries may be together, in bytes; the oldest entries go until they
	// are no larger. 0 stands for any size.
	MaxSize int64
	// Grace is how young a blob is spared that nothing refers to yet.
	Grace time.Duration
	// DryRun only says what would go.
	DryRun bool
	// Now is the time that ages are counted from.
	Now time.Time
}

// Entry is something that Slipway keeps in a store: a record, or another artifact of its own.
type Entry struct {
	Name string
	// Step is what a record is the result of, as the user saw it.
	Step string
	// Created is when the store got it, or if it does not know, when the build was; zero if neither is
	// known.
	Created time.Time
	// Size is that of its blobs in bytes. Other entries may share them.
	Size int64

	blobs []v1.Descriptor
}

// PruneReport says what went, or with DryRun would go.
type PruneReport struct {
	Removed []Entry // the oldest first
	Kept    int
	// KeptSize is the size of the blobs of what is kept, in bytes; each counts once.
	KeptSize int64
	// Freed is how many bytes were freed; 0 where the store frees them later itself.
	Freed int64
	// Foreign is how many manifests there are that are not Slipway's. They stay.
	Foreign int
}

// parallelReads is how many manifests are read at once.
const parallelReads = 8

// Prune removes entries of a store that are too old or too many, and blobs that nothing refers to any more.
// Builds may use the store meanwhile.
func Prune(ctx context.Context, s Prunable, o PruneOptions) (*PruneReport, error) {
	entries, foreign, err := entriesOf(ctx, s)
	if err != nil {
		return nil, err
	}
	going, staying := choose(entries, o)
	kept := sizes{}
	for _, e := range staying {
		kept.add(e)
	}
	r := &PruneReport{Removed: going, Kept: len(staying), KeptSize: kept.total(), Foreign: foreign}
	if o.DryRun {
		all := sizes{}
		for _, e := range entries {
			all.add(e)
		}
		r.Freed = all.total() - r.KeptSize
		return r, nil
	}
	names := make([]string, len(going))
	for i, e := range going {
		names[i] = e.Name
	}
	r.Freed, err = s.Remove(ctx, names, o.Grace)
	return r, err
}

// sizes are the sizes of blobs, with how many entries refer to each.
type sizes map[v1.Hash]*struct {
	size int64
	refs int
}

func (s sizes) add(e Entry) {
	for _, b := range e.blobs {
		if s[b.Digest] == nil {
			s[b.Digest] = &struct {
				size int64
				refs int
			}{size: b.Size}
		}
		s[b.Digest].refs++
	}
}

func (s sizes) remove(e Entry) {
	for _, b := range e.blobs {
		if s[b.Digest].refs--; s[b.Digest].refs == 0 {
			delete(s, b.Digest)
		}
	}
}

func (s sizes) total() (sum int64) {
	for _, b := range s {
		sum += b.size
	}
	return sum
}

// choose divides entries into those that go and those that stay, each with the oldest first.
func choose(entries []Entry, o PruneOptions) (going, staying []Entry) {
	entries = slices.Clone(entries)
	slices.SortFunc(entries, func(a, b Entry) int {
		if a.Created.IsZero() != b.Created.IsZero() { // of unknown age: last
			return cmp.Compare(b.Created.Unix(), a.Created.Unix())
		}
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	left := sizes{}
	for _, e := range entries {
		left.add(e)
	}
	for _, e := range entries {
		old := o.MaxAge > 0 && !e.Created.IsZero() && e.Created.Add(o.MaxAge).Before(o.Now)
		if old || o.MaxSize > 0 && left.total() > o.MaxSize {
			left.remove(e)
			going = append(going, e)
			continue
		}
		staying = append(staying, e)
	}
	return going, staying
}

// entriesOf lists what Slipway has in a store, and how much others have.
func entriesOf(ctx context.Context, s Prunable) (entries []Entry, foreign int, err error) {
	listed, err := s.List(ctx)
	if err != nil {
		return nil, 0, err
	}
	found := make([]*Entry, len(listed))
	gone := make([]bool, len(listed))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelReads)
	for i, l := range listed {
		g.Go(func() error {
			raw, err := s.Manifest(ctx, l.Name)
			if errors.Is(err, fs.ErrNotExist) {
				gone[i] = true
				return nil
			}
			if err != nil {
				return fmt.Errorf("looking at %s: %w", l.Name, err)
			}
			found[i] = entryOf(l, raw)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, 0, err
	}
	for i, e := range found {
		switch {
		case e != nil:
			entries = append(entries, *e)
		case !gone[i]:
			foreign++
		}
	}
	return entries, foreign, nil
}

// ownTypes is what the types of Slipway's artifacts begin with.
const ownTypes = "application/vnd.slipway."

// createdField is when an artifact was created (OCI image spec, annotations.md).
const createdField = "org.opencontainers.image.created"

// entryOf reads what a manifest says; nil if it is not Slipway's.
func entryOf(l Listed, raw []byte) *Entry {
	var m manifest
	if json.Unmarshal(raw, &m) != nil || !strings.HasPrefix(m.ArtifactType, ownTypes) {
		return nil
	}
	e := &Entry{Name: l.Name, Created: l.Modified, blobs: slices.Concat(m.Layers, []v1.Descriptor{m.Config})}
	for _, b := range e.blobs {
		e.Size += b.Size
	}
	if rec, err := Unmarshal(raw); err == nil {
		e.Step = rec.Step
		if e.Created.IsZero() {
			e.Created = rec.Created
		}
	} else if t, err := time.Parse(time.RFC3339, m.Annotations[createdField]); err == nil && e.Created.IsZero() {
		e.Created = t
	}
	return e
}
