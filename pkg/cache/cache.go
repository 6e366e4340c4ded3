package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/memo"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/state"
)

// Options say what a build's cache does.
type Options struct {
	// From are asked for records, all at once; of several answers that of the first counts.
	From []Store
	// To get the records of what the build executes, and of what it found elsewhere.
	To []Store
	// TTL is how old a record may be; 0 stands for any age.
	TTL time.Duration
	// SkipCopies leaves out operations that copy files, SkipRuns all others.
	SkipCopies, SkipRuns bool
	// Project names what is built, so that its next build can say what has changed; "" if that
	// is of no interest.
	Project string
	// Form is the form of the layers that are written.
	Form layer.Form
	// Now is the time of the build.
	Now time.Time
	// State keeps what is fetched; Writer serialises.
	State  *state.Dir
	Writer *layer.Writer
	// Warn tells the user of a cache that does not work. That never fails a build.
	Warn func(message string)
}

// lookupTimeout bounds one question to a store.
const lookupTimeout = 20 * time.Second

// Cache is what one build knows of its caches. It is safe for concurrent use.
type Cache struct {
	Options
	ctx      context.Context
	from     []*guarded
	ids      *identities
	lookups  memo.Memo[op.Key, []*found]
	saves    *saves
	distrust sync.Map // names of records
}

// New makes the cache of one build; nothing is asked yet. What it does ends with ctx.
func New(ctx context.Context, o Options) *Cache {
	c := &Cache{Options: o, ctx: ctx, ids: &identities{writer: o.Writer, form: o.Form}}
	for _, s := range o.From {
		c.from = append(c.from, &guarded{Store: s, use: "read", warn: o.Warn})
	}
	c.saves = newSaves(ctx, c)
	return c
}

// guarded is a store that is left alone once it has failed.
type guarded struct {
	Store
	use    string // "read" or "written"
	warn   func(string)
	failed atomic.Bool
	broken atomic.Bool // one of its records refers to what is not there
}

// fail has the store not be used again.
func (g *guarded) fail(err error) {
	if !g.failed.Swap(true) {
		g.warn(fmt.Sprintf("cache %s cannot be %s, the build goes on without it: %v", g, g.use, err))
	}
}

// lacks tells the user, once, of a record whose blobs are gone or cut off.
func (g *guarded) lacks(name string) {
	if !g.broken.Swap(true) {
		g.warn(fmt.Sprintf("cache %s: %s is not used, since a blob that it refers to is gone or cut off; so may be others", g, name))
	}
}

// found is a record that a store has.
type found struct {
	name   string
	store  Store
	record *Record
}

func (f *found) damaged(err error) error {
	return &DamagedError{f, err}
}

// recordName is what a record is called in stores.
func recordName(k op.Key) string { return fmt.Sprintf("record-%x", k[:]) }

// lookup asks all stores for the records under a key, once. The answers come in the order of the
// stores; no answer is an error.
func (c *Cache) lookup(ctx context.Context, k op.Key) ([]*found, error) {
	return c.lookups.Do(ctx, c.ctx, k, func(ctx context.Context) ([]*found, error) {
		answers := make([]*found, len(c.from))
		var g errgroup.Group
		for i, r := range c.from {
			g.Go(func() error {
				answers[i] = c.ask(ctx, r, recordName(k))
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		return slices.DeleteFunc(answers, func(f *found) bool { return f == nil }), ctx.Err()
	})
}

// ask asks one store for a record; nil if there is none that can be used.
func (c *Cache) ask(ctx context.Context, r *guarded, name string) *found {
	if _, bad := c.distrust.Load(name); bad || r.failed.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	raw, err := r.Manifest(ctx, name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.fail(err)
		}
		return nil
	}
	rec, err := Unmarshal(raw)
	if err != nil {
		c.Warn(fmt.Sprintf("cache %s: record %s is not used: %v", r, name, err))
		return nil
	}
	if c.expired(rec) {
		return nil
	}
	whole, err := complete(ctx, r.Store, rec)
	switch {
	case err != nil:
		r.fail(err)
		return nil
	case !whole:
		r.lacks(name)
		return nil
	}
	return &found{name: name, store: r.Store, record: rec}
}

func (c *Cache) expired(rec *Record) bool {
	return c.TTL > 0 && rec.Created.Add(c.TTL).Before(c.Now)
}

// complete reports whether the store has everything that the record refers to.
func complete(ctx context.Context, s Store, rec *Record) (bool, error) {
	var missing atomic.Bool
	g, ctx := errgroup.WithContext(ctx)
	for _, o := range rec.Outputs {
		for _, blob := range []v1.Descriptor{o.Layer, o.Index} {
			g.Go(func() error {
				has, err := s.Has(ctx, blob)
				if !has {
					missing.Store(true)
				}
				return err
			})
		}
	}
	err := g.Wait()
	return !missing.Load(), err
}

// Distrust reports whether err is because of a record. If so, that record is not used any more, its blobs are
// written again when they are put again, and the build can be tried again, with another [Cache.Caching].
func (c *Cache) Distrust(err error) bool {
	var damaged *DamagedError
	if !errors.As(err, &damaged) {
		return false
	}
	if _, again := c.distrust.LoadOrStore(damaged.found.name, true); again {
		return false
	}
	Distrust(damaged.found.store, damaged.found.record)
	c.Warn(damaged.Error() + "; it is made anew")
	c.lookups.Clear()
	return true
}

// caches reports whether results of o are kept.
func (c *Cache) caches(o op.Op) bool {
	switch o := o.(type) {
	case *op.File:
		if slices.ContainsFunc(o.Actions, func(a op.FileAction) bool { return a.Copy != nil }) {
			return !c.SkipCopies
		}
		return !c.SkipRuns
	case *op.Exec:
		return !c.SkipRuns
	}
	return false
}
