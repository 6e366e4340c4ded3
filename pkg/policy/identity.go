package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// The types of signedIdentity. The last one is Slipway's own.
const (
	matchExact             = "matchExact"
	matchRepoDigestOrExact = "matchRepoDigestOrExact"
	matchRepository        = "matchRepository"
	exactReference         = "exactReference"
	exactRepository        = "exactRepository"
	remapIdentity          = "remapIdentity"
	matchDigest            = "matchDigest"
)

// Identity says which image a signature must be about, beyond its digest: signatures name an image as well, so
// that what was signed under one name is not taken for another.
type Identity struct {
	kind                 string
	exact                reference.Named // of exactReference and exactRepository
	prefix, signedPrefix string          // of remapIdentity
}

// AnyName reports whether a signature need not name an image: its digest is enough.
func (s *Identity) AnyName() bool { return s.kind == matchDigest }

// parseIdentity reads the value of signedIdentity.
func parseIdentity(data []byte) (*Identity, error) {
	kind, err := typeOf(data)
	if err != nil {
		return nil, err
	}
	s := &Identity{kind: kind}
	var exact string
	places := map[string]any{"type": &s.kind}
	switch kind {
	case matchExact, matchRepoDigestOrExact, matchRepository, matchDigest:
	case exactReference:
		places["dockerReference"] = &exact
	case exactRepository:
		places["dockerRepository"] = &exact
	case remapIdentity:
		places["prefix"], places["signedPrefix"] = &s.prefix, &s.signedPrefix
	default:
		return nil, fmt.Errorf("there is no type %q", kind)
	}
	if err := object(data, func(name string) any { return places[name] }); err != nil {
		return nil, err
	}
	return s, s.check(exact)
}

func (s *Identity) check(exact string) (err error) {
	switch s.kind {
	case exactReference, exactRepository:
		if s.exact, err = reference.ParseNormalizedNamed(exact); err != nil {
			return fmt.Errorf("%q: %w", exact, err)
		}
		if bare := reference.IsNameOnly(s.exact); bare && s.kind == exactReference {
			return fmt.Errorf("%q has neither a tag nor a digest", exact)
		} else if !bare && s.kind == exactRepository {
			return fmt.Errorf("%q is no repository: it has a tag or a digest", exact)
		}
	case remapIdentity:
		for _, prefix := range []string{s.prefix, s.signedPrefix} {
			if _, err := reference.WithName(prefix + "/x"); err != nil {
				return fmt.Errorf("%q is no registry, namespace or repository", prefix)
			}
		}
	}
	return nil
}

// Match returns nil if a signature that names an image as signed is one for i, else an error that says what is wrong.
func (s *Identity) Match(i *Image, signed string) error {
	if s.AnyName() {
		return nil
	}
	got, err := reference.ParseNormalizedNamed(signed)
	if err != nil {
		return fmt.Errorf("it names the image %q: %w", signed, err)
	}
	want, err := s.wanted(i)
	if err != nil {
		return err
	}
	if s.repositoryOnly(want) {
		if got.Name() != want.Name() {
			return fmt.Errorf("it is for the repository %s, not for %s", got.Name(), want.Name())
		}
		if s.needsName() && reference.IsNameOnly(got) {
			return s.nameless(got)
		}
		return nil
	}
	switch {
	case reference.IsNameOnly(want):
		return fmt.Errorf("%s has neither a tag nor a digest", want)
	case got.Name() == want.Name() && reference.IsNameOnly(got):
		return s.nameless(got)
	case got.String() != want.String():
		return fmt.Errorf("it is for %s, not for %s", got, want)
	}
	return nil
}

// wanted is what a signature must name.
func (s *Identity) wanted(i *Image) (reference.Named, error) {
	if s.exact != nil {
		return s.exact, nil
	}
	if i.named == nil {
		return nil, errors.New("an image that is in no registry has no name that a signature could be for")
	}
	rest, ok := strings.CutPrefix(i.named.String(), s.prefix)
	if s.kind != remapIdentity || !ok || !prefixOf(s.prefix, i.named.Name()) {
		return i.named, nil
	}
	want, err := reference.ParseNamed(s.signedPrefix + rest)
	if err != nil {
		return nil, fmt.Errorf("remapped to %s: %w", s.signedPrefix+rest, err)
	}
	return want, nil
}

// prefixOf reports whether a repository is prefix or below it.
func prefixOf(prefix, repository string) bool {
	return repository == prefix || strings.HasPrefix(repository, prefix+"/")
}

// repositoryOnly reports whether tags and digests are left out of the comparison.
func (s *Identity) repositoryOnly(want reference.Named) bool {
	switch s.kind {
	case matchRepository, exactRepository:
		return true
	case matchRepoDigestOrExact, remapIdentity:
		_, pinned := want.(reference.Digested)
		return pinned
	}
	return false
}

// needsName reports whether a signature must name a tag or a digest, even if it does not matter which.
func (s *Identity) needsName() bool {
	return s.kind == matchRepoDigestOrExact || s.kind == remapIdentity
}

func (s *Identity) nameless(got reference.Named) error {
	return fmt.Errorf(`it is for the repository %s without a tag, as those that cosign makes are; "signedIdentity": {"type": "matchRepository"} accepts it`, got.Name())
}
