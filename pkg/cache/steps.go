package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"regexp"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/op"
)

// Steps are the keys that a build's steps had, by the steps' places in the Dockerfile. They are kept so
// that a later build can say in what a step differs for which there is no record.
type Steps map[string]Step

// Step is one of them.
type Step struct {
	Name  string    `json:"name"`
	Parts []op.Part `json:"parts"`
}

var placeForm = regexp.MustCompile(`^\[([^\]]*)/\d+\] `)

// place tells "[linux/amd64 build 2/6] RUN make" from the other steps of the Dockerfile: by
// "linux/amd64 build 2". A step without is not kept.
func place(name string) (string, bool) {
	m := placeForm.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// maxParts bounds the parts of one step that are kept.
const maxParts = 64

// stepList collects the steps of a build.
type stepList struct {
	mu    sync.Mutex
	steps Steps
}

func (l *stepList) add(v *op.Vertex, r *resolution) {
	at, ok := place(v.Name)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.steps == nil {
		l.steps = Steps{}
	}
	l.steps[at] = Step{Name: v.Name, Parts: r.parts[:min(len(r.parts), maxParts)]}
}

// Steps are kept as a manifest that refers to nothing but the empty config.
const (
	stepsType  = "application/vnd.slipway.cache.steps.v1"
	stepsField = "vnd.slipway.cache.steps"
)

// stepsName is what the steps of a project are called in stores.
func stepsName(project string) string {
	sum := sha256.Sum256([]byte(project))
	return "steps-" + hex.EncodeToString(sum[:])
}

func (s Steps) marshal() ([]byte, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return json.Marshal(manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: stepsType,
		Config: emptyBlob(), Layers: []v1.Descriptor{emptyBlob()},
		Annotations: map[string]string{stepsField: string(text)},
	})
}

func unmarshalSteps(data []byte) (Steps, error) {
	m, err := parseManifest(data)
	if err != nil {
		return nil, err
	}
	if m.ArtifactType != stepsType {
		return nil, errForeign
	}
	var s Steps
	return s, json.Unmarshal([]byte(m.Annotations[stepsField]), &s)
}

// putSteps keeps the steps of this build.
func (s *saves) putSteps() {
	s.steps.mu.Lock()
	defer s.steps.mu.Unlock()
	if len(s.steps.steps) == 0 || s.cache.Project == "" {
		return
	}
	raw, err := s.steps.steps.marshal()
	if err != nil || len(raw) > manifestLimit {
		return // they only serve to explain
	}
	for _, w := range s.to {
		if w.failed.Load() {
			continue
		}
		err := w.keep(s.ctx, stepsName(s.cache.Project), raw)
		if err != nil && s.ctx.Err() == nil {
			w.fail(err)
		}
	}
}

// earlierSteps are those of the last build of this project; nil if none is known.
func (c *Cache) earlierSteps(ctx context.Context) Steps {
	for _, r := range c.from {
		if r.failed.Load() || c.Project == "" {
			continue
		}
		raw, err := r.Manifest(ctx, stepsName(c.Project))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				r.fail(err)
			}
			continue
		}
		if s, err := unmarshalSteps(raw); err == nil {
			return s
		}
	}
	return nil
}
