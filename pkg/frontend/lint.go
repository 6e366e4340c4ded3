package frontend

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/subrequests/lint"

	"github.com/slipway-build/slipway/pkg/op"
)

// Lint is what the subrequest frontend.lint found, in short; the findings themselves are in the
// result's Metadata.
type Lint struct {
	Warnings int
	// Err is what kept the checks from seeing all of the Dockerfile; nil if nothing did.
	Err error
}

// noteLookup remembers the first source that could not be looked up, or is denied. The answer of the checks has only
// the text of such an error.
func (b *build) noteLookup(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lookup == nil {
		b.lookup = err
	}
}

// lint reads the answer of the checks.
func (b *build) lint(res *gw.Result) (*Lint, error) {
	if res == nil {
		return nil, errors.New("the Dockerfile checks gave no answer")
	}
	var answer lint.LintResults
	if err := json.Unmarshal(res.Metadata["result.json"], &answer); err != nil {
		return nil, fmt.Errorf("the answer of the Dockerfile checks: %w", err)
	}
	out := &Lint{Warnings: len(answer.Warnings)}
	if answer.Error == nil {
		return out, nil
	}
	out.Err = clean(errors.New(answer.Error.Message))
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lookup != nil && strings.Contains(answer.Error.Message, b.lookup.Error()) {
		out.Err = &frontendError{message: out.Err.Error(), err: b.lookup}
	}
	place := &answer.Error.Location
	if i := int(place.GetSourceIndex()); i >= 0 && i < len(answer.Sources) {
		source := answer.Sources[i]
		if l, ok := newLocation(source.GetFilename(), source.GetData(), place.GetRanges()); ok {
			out.Err = op.Locate(out.Err, []op.Location{l})
		}
	}
	return out, nil
}
