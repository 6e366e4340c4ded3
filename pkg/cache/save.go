package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/memo"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

// parallelSaves is how many results are written and sent at once.
const parallelSaves = 4

// saves writes records behind the build's back.
type saves struct {
	cache *Cache
	ctx   context.Context
	stop  context.CancelCauseFunc
	slots chan struct{}
	wg    sync.WaitGroup
	to    []*writer
	steps stepList

	mu   sync.Mutex
	jobs map[layer.Layer]*job // by the layers whose saving they are
}

// writer is a store that is written to.
type writer struct {
	guarded
	config memo.Memo[struct{}, struct{}]
}

// keep puts a manifest, after the config that all manifests have, which is put once.
func (w *writer) keep(ctx context.Context, name string, manifest []byte) error {
	_, err := w.config.Do(ctx, ctx, struct{}{}, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, putConfig(ctx, w.Store)
	})
	if err != nil {
		return err
	}
	return w.PutManifest(ctx, name, manifest)
}

// job is the saving of one result.
type job struct {
	done chan struct{}
	// kept says, by index into saves.to, that the store has the record of this very result.
	kept []bool
}

func newSaves(ctx context.Context, c *Cache) *saves {
	s := &saves{
		cache: c, slots: make(chan struct{}, parallelSaves),
		jobs: map[layer.Layer]*job{},
	}
	s.ctx, s.stop = context.WithCancelCause(ctx)
	for _, store := range c.To {
		s.to = append(s.to, &writer{guarded: guarded{Store: store, use: "written", warn: c.Warn}})
	}
	return s
}

// result is what an operation gave, and how it is found again.
type result struct {
	vertex *op.Vertex
	*resolution
	trees []*tree.Tree
}

// executed saves what an operation has just given.
func (s *saves) executed(v *op.Vertex, r *resolution, trees []*tree.Tree) {
	if len(s.to) == 0 || len(trees) != len(r.bases) || slices.Contains(trees, nil) {
		return
	}
	s.start(&result{v, r, trees})
}

// found saves what was found where it is missing: in the other stores, and under its alias.
func (s *saves) found(v *op.Vertex, r *resolution, trees []*tree.Tree) {
	aliasMissing := r.alias != (op.Key{}) && !r.byAlias
	elsewhere := slices.ContainsFunc(s.to, func(w *writer) bool { return w.Store != r.hit.store })
	if len(s.to) == 0 || !(aliasMissing || elsewhere) {
		return
	}
	s.start(&result{v, r, trees})
}

func (s *saves) start(r *result) {
	j := &job{done: make(chan struct{}), kept: make([]bool, len(s.to))}
	s.mu.Lock()
	for _, t := range r.trees {
		s.jobs[t.Top()] = j
	}
	s.mu.Unlock()
	s.wg.Go(func() {
		defer close(j.done)
		s.await(r)
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		case <-s.ctx.Done():
			return
		}
		s.save(r, j)
	})
}

// await waits until what the result was made on is saved: its record is worth nothing without.
func (s *saves) await(r *result) {
	for _, j := range s.below(r) {
		select {
		case <-j.done:
		case <-s.ctx.Done():
			return
		}
	}
}

// below lists the jobs of the layers that the result was made on. What was found is kept whatever
// becomes of those.
func (s *saves) below(r *result) []*job {
	if r.hit != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*job
	for _, b := range r.bases {
		for ; b.Depth() > 0; b = b.Parent() {
			if j := s.jobs[b.Top()]; j != nil {
				all = append(all, j)
			}
		}
	}
	return all
}

// save puts one result into all stores.
func (s *saves) save(r *result, j *job) {
	rec, indexes, err := s.record(r)
	if err != nil {
		if s.ctx.Err() == nil {
			s.cache.Warn(fmt.Sprintf("cache: the result of %s is not kept: %v", r.vertex.Name, err))
		}
		return
	}
	below := s.below(r)
	for i, w := range s.to {
		unkept := func(b *job) bool { return b != j && !b.kept[i] }
		if w.failed.Load() || slices.ContainsFunc(below, unkept) {
			continue
		}
		kept, err := s.put(w, r, rec, indexes)
		var unread *unreadError
		switch {
		case err == nil:
			j.kept[i] = kept
		case s.ctx.Err() != nil:
		case errors.As(err, &unread):
			s.cache.Warn(fmt.Sprintf("cache: the result of %s is not copied to %s: %v", r.vertex.Name, w, unread))
			return // no other store would get it
		default:
			w.fail(err)
		}
	}
}

// blobs are the blobs of one output.
type blobs struct {
	layer v1.Layer
	index func() (io.ReadCloser, error)
}

// record makes the record of a result, and what it refers to.
func (s *saves) record(r *result) (*Record, []blobs, error) {
	if r.hit != nil {
		rec, all := s.foundRecord(r)
		return rec, all, nil
	}
	rec := &Record{Key: r.key, Created: s.cache.Now, Step: r.vertex.Name}
	var all []blobs
	for i, t := range r.trees {
		o, b, err := s.output(t.Top(), r.bases[i])
		if err != nil {
			return nil, nil, err
		}
		rec.Outputs, all = append(rec.Outputs, *o), append(all, *b)
	}
	return rec, all, nil
}

// foundRecord is the record that was found. Its blobs are read only if a store lacks them.
func (s *saves) foundRecord(r *result) (*Record, []blobs) {
	rec := *r.hit.record
	rec.Reads = Identity{}
	var all []blobs
	for i, t := range r.trees {
		all = append(all, blobs{
			layer: foundBlob{t.Top().(*storedLayer).Blob()},
			index: func() (io.ReadCloser, error) {
				data, err := readBlob(s.ctx, r.hit.store, rec.Outputs[i].Index, indexLimit)
				if err != nil {
					return nil, &unreadError{err}
				}
				return bytesOf(data)()
			},
		})
	}
	return &rec, all
}

// output writes the layer that an operation put on top of base.
func (s *saves) output(l layer.Layer, base *tree.Tree) (*Output, *blobs, error) {
	c := s.cache
	baseID, err := c.ids.of(s.ctx, base)
	if err != nil {
		return nil, nil, err
	}
	content, err := c.ids.layer(s.ctx, l)
	if err != nil {
		return nil, nil, err
	}
	written, err := c.Writer.Write(s.ctx, l, c.Form)
	if err != nil {
		return nil, nil, err
	}
	index, err := exactIndex(s.ctx, l, written)
	if err != nil {
		return nil, nil, err
	}
	o := &Output{Base: baseID, Form: c.Form, Content: content}
	data, err := o.describe(written.Blob(), index)
	if err != nil {
		return nil, nil, err
	}
	return o, &blobs{written.Blob(), bytesOf(data)}, nil
}

// put puts a result into a store, under its key and its alias. kept says that the store has this
// result, and not that of another build, which was faster.
func (s *saves) put(w *writer, r *result, rec *Record, all []blobs) (kept bool, err error) {
	inIt := r.hit != nil && r.hit.store == w.Store
	if !inIt {
		other, err := s.present(w, r, rec)
		switch {
		case err != nil:
			return false, err
		case other != nil && !sameContent(other, rec):
			return false, nil
		case other != nil:
			rec = other
		default:
			if err := s.putBlobs(w, rec, all); err != nil {
				return false, err
			}
			if err := s.putRecord(w, r.key, rec); err != nil {
				return false, err
			}
		}
	}
	if r.alias == (op.Key{}) || inIt && r.byAlias {
		return true, nil
	}
	alias := *rec
	if alias.Reads, err = s.cache.ids.of(s.ctx, r.reads...); err != nil {
		return false, err
	}
	return true, s.putRecord(w, r.alias, &alias)
}

func (s *saves) putRecord(w *writer, k op.Key, rec *Record) error {
	raw, err := rec.Marshal()
	if err != nil {
		return err
	}
	return w.keep(s.ctx, recordName(k), raw)
}

// present is the record for the result's key that the store has already and that holds as well as rec
// does; nil if there is none, or if the user wants no old results.
func (s *saves) present(w *writer, r *result, rec *Record) (*Record, error) {
	name := recordName(r.key)
	if _, bad := s.cache.distrust.Load(name); bad || r.vertex.NoCache {
		return nil, nil
	}
	raw, err := w.Manifest(s.ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	other := s.replaces(rec, raw)
	if other == nil {
		return nil, nil
	}
	if whole, err := complete(s.ctx, w.Store, other); !whole || err != nil {
		return nil, err
	}
	return other, nil
}

// replaces reads a record that makes rec needless: one for the same operation on the same trees. What is
// anything else, damaged or too old, is to be replaced, and gives nil.
func (s *saves) replaces(rec *Record, raw []byte) *Record {
	other, err := Unmarshal(raw)
	if err != nil || other.Key != rec.Key || len(other.Outputs) != len(rec.Outputs) || s.cache.expired(other) {
		return nil
	}
	for i := range rec.Outputs {
		if other.Outputs[i].Base != rec.Outputs[i].Base {
			return nil
		}
	}
	return other
}

func sameContent(a, b *Record) bool {
	for i := range a.Outputs {
		if a.Outputs[i].Content != b.Outputs[i].Content {
			return false
		}
	}
	return true
}

func (s *saves) putBlobs(w *writer, rec *Record, all []blobs) error {
	for i := range rec.Outputs {
		if err := rec.Outputs[i].put(s.ctx, w.Store, all[i].layer, all[i].index); err != nil {
			return err
		}
	}
	return nil
}

// Pending reports whether something is still to be saved.
func (c *Cache) Pending() bool {
	if len(c.To) == 0 {
		return false
	}
	c.saves.mu.Lock()
	defer c.saves.mu.Unlock()
	for _, j := range c.saves.jobs {
		select {
		case <-j.done:
		default:
			return true
		}
	}
	return false
}

// errTimeout is why saving ended early.
var errTimeout = errors.New("the time for writing the cache is over")

// Flush waits until everything is saved, no longer than limit; 0 stands for any time.
func (c *Cache) Flush(limit time.Duration) {
	s := c.saves
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.wg.Wait()
		s.putSteps()
	}()
	var over <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-done:
	case <-over:
		c.Warn(fmt.Sprintf("not everything was written to the cache within %v", limit))
		s.stop(errTimeout)
		<-done
	}
}
