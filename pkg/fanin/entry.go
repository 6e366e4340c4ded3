package fanin

import (
	"context"
	"fmt"
	"maps"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/registry"
)

// entry is one image of the index.
type entry struct {
	desc  v1.Descriptor
	image *registry.Stored
	// ref is the reference that led to the image, as the user wrote it.
	ref string
}

// platform is what the image is for, in normal form.
func (e *entry) platform() platform { return normalize(*e.desc.Platform) }

// attests reports whether the entry is no image but something about one, such as its provenance.
func (e *entry) attests() bool {
	return registry.IsAttestation(&e.desc)
}

// name is what the entry is, for people to read.
func (e *entry) name() string {
	if e.attests() {
		return "attestation"
	}
	return e.platform().String()
}

// lookups is how many references are looked up at once.
const lookups = 8

// find looks all references up and gives the images that they lead to, in the order of the
// references and, of indexes, in theirs.
func (j *Join) find(ctx context.Context) ([]entry, error) {
	found := make([][]entry, len(j.Images))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(lookups)
	for i, ref := range j.Images {
		g.Go(func() (err error) {
			found[i], err = j.open(ctx, ref)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all []entry
	for _, f := range found {
		all = append(all, f...)
	}
	return all, nil
}

// open gives the images that one reference leads to.
func (j *Join) open(ctx context.Context, ref string) ([]entry, error) {
	top, err := j.client.Open(ctx, ref)
	if err != nil {
		return nil, err
	}
	images, err := top.Images(ctx)
	if err != nil {
		return nil, err
	}
	var all []entry
	runnable := 0
	for _, i := range images {
		p, err := i.Platform(ctx)
		if err != nil {
			return nil, err
		}
		e := entry{image: i, ref: ref, desc: v1.Descriptor{
			MediaType:    i.Descriptor.MediaType,
			Size:         i.Descriptor.Size,
			Digest:       i.Descriptor.Digest,
			Annotations:  maps.Clone(i.Descriptor.Annotations),
			Platform:     &p,
			ArtifactType: i.Descriptor.ArtifactType,
		}}
		if !e.attests() {
			runnable++
		}
		all = append(all, e)
	}
	if runnable == 0 {
		return nil, fmt.Errorf("%s leads to no image that is for a platform", ref)
	}
	return all, nil
}

// choose drops what is there twice, and checks that the images fit together.
func (j *Join) choose(all []entry) ([]entry, error) {
	var (
		kept     []entry
		problems []string
	)
	type identity struct {
		digest   v1.Hash
		platform string
	}
	seen := map[identity]bool{}
	first := map[string]entry{}
	for _, e := range all {
		id := identity{e.desc.Digest, e.platform().String()}
		if seen[id] {
			continue
		}
		seen[id] = true
		kept = append(kept, e)
		if e.attests() {
			continue
		}
		if other, taken := first[id.platform]; taken {
			problems = append(problems, fmt.Sprintf("%s and %s are both for platform %s", other.source(), e.source(), id.platform))
			continue
		}
		first[id.platform] = e
	}
	problems = append(problems, j.unexpected(kept)...)
	if len(problems) > 0 {
		return nil, fmt.Errorf("the images do not make the index that is wanted: %s", strings.Join(problems, "; "))
	}
	return kept, nil
}

// source says where an image comes from.
func (e *entry) source() string {
	if strings.HasSuffix(e.ref, e.desc.Digest.String()) {
		return e.ref
	}
	return fmt.Sprintf("%s (%s)", e.ref, e.desc.Digest)
}

// unexpected says how the images differ from the platforms that are expected.
func (j *Join) unexpected(entries []entry) []string {
	if len(j.expected) == 0 {
		return nil
	}
	var problems []string
	there := make([]bool, len(j.expected))
	for _, e := range entries {
		if e.attests() {
			continue
		}
		wanted := false
		for i, p := range j.expected {
			if p.covers(e.platform()) {
				there[i], wanted = true, true
			}
		}
		if !wanted {
			problems = append(problems, fmt.Sprintf("%s is for platform %s, which is not expected", e.source(), e.platform()))
		}
	}
	for i, p := range j.expected {
		if !there[i] {
			problems = append(problems, fmt.Sprintf("there is none for platform %s", p))
		}
	}
	return problems
}
