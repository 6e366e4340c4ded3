package bucket

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/cache"
)

var _ cache.Prunable = (*Store)(nil)

// parallelRequests is how many manifests are read, or objects removed, at once.
const parallelRequests = 8

// List yields the names of all manifests.
func (s *Store) List(ctx context.Context) ([]cache.Listed, error) {
	var all []cache.Listed
	err := s.each(ctx, manifestDir, func(o *blob.ListObject) error {
		if name, ok := s.manifestName(o); ok {
			all = append(all, cache.Listed{Name: name, Modified: o.ModTime})
		}
		return nil
	})
	return all, s.failed("listing manifests", err)
}

// each calls f for all objects under a directory.
func (s *Store) each(ctx context.Context, dir string, f func(*blob.ListObject) error) error {
	for it := s.bucket.List(&blob.ListOptions{Prefix: s.prefix + dir}); ; {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(o); err != nil {
			return err
		}
	}
}

// manifestName is the name of the manifest that an object is.
func (s *Store) manifestName(o *blob.ListObject) (string, bool) {
	name, ok := strings.CutSuffix(strings.TrimPrefix(o.Key, s.prefix+manifestDir), manifestSuffix)
	return name, ok && nameForm.MatchString(name)
}

// Remove deletes manifests, and blobs that no other refers to and that are no younger than grace, and
// what dead writers left behind.
func (s *Store) Remove(ctx context.Context, names []string, grace time.Duration) (freed int64, err error) {
	before := time.Now().Add(-grace)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelRequests)
	for _, name := range names {
		g.Go(func() error {
			key, err := s.manifestKey(name)
			if err != nil {
				return err
			}
			return s.failed("removing manifest "+name, s.delete(gctx, key))
		})
	}
	if err := g.Wait(); err != nil {
		return 0, err
	}
	freed, err = s.sweep(ctx, before)
	return freed, s.failed("removing what nothing refers to", err)
}

// delete removes an object, if it is there.
func (s *Store) delete(ctx context.Context, key string) error {
	err := s.bucket.Delete(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return err
}

// sweep removes the objects that nothing refers to and that are older than before.
func (s *Store) sweep(ctx context.Context, before time.Time) (freed int64, err error) {
	// The blobs are listed first: one that comes later stays, whatever refers to it.
	var old []*blob.ListObject
	if err := s.each(ctx, blobDir, func(o *blob.ListObject) error {
		if !o.ModTime.After(before) {
			old = append(old, o)
		}
		return nil
	}); err != nil {
		return 0, err
	}
	used, err := s.references(ctx)
	if err != nil {
		return 0, err
	}
	for _, o := range old {
		if used[strings.TrimPrefix(o.Key, s.prefix+blobDir)] {
			continue
		}
		if err := s.delete(ctx, o.Key); err != nil {
			return freed, err
		}
		freed += o.Size
	}
	return freed, s.sweepManifests(ctx, before)
}

// sweepManifests removes what is under manifests and is none.
func (s *Store) sweepManifests(ctx context.Context, before time.Time) error {
	return s.each(ctx, manifestDir, func(o *blob.ListObject) error {
		if _, ok := s.manifestName(o); ok || o.ModTime.After(before) {
			return nil
		}
		return s.delete(ctx, o.Key)
	})
}

// references are the hexadecimal digests of all blobs that a manifest refers to.
func (s *Store) references(ctx context.Context) (map[string]bool, error) {
	names, err := s.List(ctx)
	if err != nil {
		return nil, err
	}
	found := make([][]string, len(names))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelRequests)
	for i, m := range names {
		g.Go(func() error {
			raw, err := s.manifest(ctx, m.Name)
			if gcerrors.Code(err) == gcerrors.NotFound {
				return nil // removed meanwhile
			}
			if err != nil {
				return fmt.Errorf("manifest %s: %w", m.Name, err)
			}
			found[i] = blobsOf(raw)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, digests := range found {
		for _, d := range digests {
			used[d] = true
		}
	}
	return used, nil
}

// blobsOf lists the hexadecimal digests of what a manifest refers to. Nothing can be used that a damaged one
// refers to.
func blobsOf(raw []byte) []string {
	type descriptor struct {
		Digest string `json:"digest"`
	}
	var m struct {
		Config descriptor   `json:"config"`
		Layers []descriptor `json:"layers"`
	}
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	var all []string
	for _, d := range append(m.Layers, m.Config) {
		if hex, ok := strings.CutPrefix(d.Digest, "sha256:"); ok {
			all = append(all, hex)
		}
	}
	return all
}
