// Package policy says which sources a build may use. It is asked before anything of a source is fetched.
package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/sourcepolicy"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/util/wildcard"

	"github.com/slipway-build/slipway/pkg/op"
)

// Source is something that a build wants to bring in, as BuildKit names it.
type Source struct {
	// Identifier is "docker-image://docker.io/library/alpine:3", "git://host/path#ref", "https://…",
	// "local://context" or "oci-layout://…".
	Identifier string
	// Attrs are details of its kind, such as "http.checksum" and "git.checksum".
	Attrs map[string]string
}

// DeniedError says that a policy forbids a source or an image.
type DeniedError struct {
	Source string // the identifier, without credentials
	Image  string // the name, if it is the policy about images that forbids it
	Policy string // the policy's file, or the flag that makes it
	Why    string // "" where the policy says no more
}

// Error implements error.
func (e *DeniedError) Error() string {
	what := fmt.Sprintf("source %q", e.Source)
	if e.Image != "" {
		what = fmt.Sprintf("image %q", e.Image)
	}
	s := fmt.Sprintf("%s denied by policy %s", what, e.Policy)
	if e.Why != "" {
		s += ": " + e.Why
	}
	return s
}

// Sources is a source policy in BuildKit's form: a list of rules that allow, deny or replace sources. The
// last rule that allows or denies a source counts; one that replaces it begins all anew. A source
// that no rule is about is allowed.
//
// A nil *Sources allows everything. It is safe for concurrent use.
type Sources struct {
	file    string
	engine  *sourcepolicy.Engine
	settled []string // identifiers
	pinned  bool     // see Hermetic
}

// version is that of the policies that the engine knows; files need not have it.
const version = 1

// LoadSources reads a policy from a JSON file. What the engine would not understand, or only when a
// source comes to it, is an error here.
func LoadSources(file string) (*Sources, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("source policy: %w", err)
	}
	rules, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("source policy %s: %w", file, err)
	}
	return newSources(file, rules), nil
}

func newSources(file string, rules *spb.Policy) *Sources {
	return &Sources{file: file, engine: sourcepolicy.NewEngine([]*spb.Policy{rules})}
}

// parse decodes a policy. A name that it does not know could be a misspelt condition, without which
// a rule is about more, or less, than its author meant.
func parse(data []byte) (*spb.Policy, error) {
	data, err := respelled(data)
	if err != nil {
		return nil, err
	}
	p := &spb.Policy{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, err
	}
	if p.GetVersion() > version {
		return nil, fmt.Errorf("version %d is newer than %d", p.GetVersion(), version)
	}
	for i, r := range p.GetRules() {
		if err := check(r); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return p, nil
}

// respelled gives the one name of the format that has two words as BuildKit reads it, match_type. As JSON of
// protocol buffers it is matchType, which BuildKit overlooks.
func respelled(data []byte) ([]byte, error) {
	var p map[string]any
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, err
	}
	if p == nil { // null would be a policy that allows everything
		return nil, errors.New("it is no object")
	}
	rules, _ := p["rules"].([]any) // what is of another type the decoder refuses
	for _, r := range rules {
		rule, _ := r.(map[string]any)
		selector, _ := rule["selector"].(map[string]any)
		value, other := selector["matchType"]
		if _, both := selector["match_type"]; other && !both {
			delete(selector, "matchType")
			selector["match_type"] = value
		}
	}
	return json.Marshal(p)
}

// check finds what the engine would stumble over.
func check(r *spb.Rule) error {
	s := r.GetSelector()
	if s == nil {
		return errors.New("there is no selector")
	}
	var err error
	switch s.GetMatchType() {
	case spb.MatchType_REGEX:
		_, err = regexp.Compile(s.GetIdentifier())
	case spb.MatchType_WILDCARD:
		_, err = wildcard.New(s.GetIdentifier())
	case spb.MatchType_EXACT:
	}
	if err != nil {
		return fmt.Errorf("identifier %q: %w", s.GetIdentifier(), err)
	}
	for _, c := range s.GetConstraints() {
		if c == nil {
			return errors.New("a constraint is null")
		}
		if c.GetCondition() != spb.AttrMatch_MATCHES {
			continue
		}
		if _, err := regexp.Compile(c.GetValue()); err != nil {
			return fmt.Errorf("constraint on %q: %w", c.GetKey(), err)
		}
	}
	if r.GetAction() == spb.PolicyAction_CONVERT {
		return checkUpdates(s, r.GetUpdates())
	}
	return nil
}

// checkUpdates makes sure that a rule says what a source becomes. Without an identifier the engine takes
// that of the selector, which is none where it is a pattern.
func checkUpdates(s *spb.Selector, u *spb.Update) error {
	switch {
	case u == nil:
		return errors.New("it converts, and there are no updates")
	case u.GetIdentifier() != "" || s.GetMatchType() == spb.MatchType_EXACT:
		return nil
	case s.GetMatchType() == spb.MatchType_REGEX || strings.Contains(s.GetIdentifier(), "*"):
		return errors.New("it converts what a pattern matches, and the updates have no identifier; ${1} there is the first part that * stands for")
	}
	return nil
}

// Settled is the policy without what it says about some identifiers, of sources that it has decided about by other
// names.
func (s *Sources) Settled(identifiers ...string) *Sources {
	if s == nil {
		return nil
	}
	c := *s
	c.settled = append(slices.Clip(s.settled), identifiers...)
	return &c
}

// Decide gives what is to be used for a source: the source itself or what the policy replaces it by, which
// may be of another kind. The error is a [*DeniedError] if the policy denies it.
func (s *Sources) Decide(ctx context.Context, want Source) (Source, error) {
	if s == nil || slices.Contains(s.settled, want.Identifier) {
		return want, nil
	}
	got, err := s.evaluate(ctx, want)
	if err != nil || !s.pinned {
		return got, err
	}
	if why := unpinned(got); why != "" {
		return Source{}, &DeniedError{Source: op.RedactURL(got.Identifier), Policy: hermeticPolicy, Why: why}
	}
	return got, nil
}

// evaluate goes through the rules.
func (s *Sources) evaluate(ctx context.Context, want Source) (Source, error) {
	if s.engine == nil {
		return want, nil
	}
	o := &pb.SourceOp{Identifier: want.Identifier, Attrs: maps.Clone(want.Attrs)}
	_, err := s.engine.Evaluate(ctx, o)
	switch {
	case errors.Is(err, sourcepolicy.ErrSourceDenied):
		return Source{}, &DeniedError{Source: op.RedactURL(o.GetIdentifier()), Policy: s.file}
	case err != nil:
		return Source{}, fmt.Errorf("source policy %s: %s: %w", s.file, op.RedactURL(want.Identifier), err)
	}
	return Source{Identifier: o.GetIdentifier(), Attrs: o.GetAttrs()}, nil
}
