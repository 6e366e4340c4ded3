package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/memo"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
)

// Mode is what happens to an image that a policy denies.
type Mode string

// The modes.
const (
	Enforce Mode = "enforce" // it is an error
	Warn    Mode = "warn"    // there is a warning, and the image is used
)

// ParseMode reads a mode; "" is [Enforce].
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return Enforce, nil
	case Enforce, Warn:
		return m, nil
	}
	return "", fmt.Errorf("policy mode %q is not one of enforce, warn", s)
}

// Registry is what a [Guard] stands before.
type Registry interface {
	op.Images
	ResolveImage(ctx context.Context, ref string, p op.Platform, mode, layout string) (pinned string, dgst digest.Digest, config []byte, err error)
	ResolveLayout(ctx context.Context, store, id string, p op.Platform) (*registry.Image, error)
	// Find looks up what a reference names, and reads nothing else.
	Find(ctx context.Context, ref string, p op.Platform) (*registry.Found, error)
	// Local says where a store is, and whether it is an OCI layout.
	Local(ctx context.Context, store string) (path string, isLayout bool, err error)
}

// Verifier finds signatures of images and verifies them.
type Verifier interface {
	// Verify returns nil if a signature of what was found for the image satisfies s; an [*UnsignedError] if none
	// does; and any other error if that could not be found out.
	Verify(ctx context.Context, i *Image, found *registry.Found, s *Signed) error
}

// UnsignedError says that an image has no signature that a policy accepts.
type UnsignedError struct {
	Why []string // of each signature, what is wrong with it
}

// Error implements error.
func (e *UnsignedError) Error() string {
	const shown = 3
	switch n := len(e.Why); {
	case n == 0:
		return "it has no signature"
	case n > shown:
		return fmt.Sprintf("none of its %d signatures is accepted: %s; …", n, strings.Join(e.Why[:shown], "; "))
	}
	return "no signature of it is accepted: " + strings.Join(e.Why, "; ")
}

// Guard lets through to registries what a policy allows, and nothing before that is known: of an image that is rejected nothing
// is asked, and of one that must be signed its manifest, and what belongs to its signatures. What a signature is verified
// for is what a build gets. It is safe for concurrent use.
type Guard struct {
	Registry
	policy   *Images
	mode     Mode
	verifier Verifier
	warn     func(string)
	life     context.Context

	found    memo.Memo[findKey, *registry.Found]
	verdicts memo.Memo[findKey, *verdict]
	admitted sync.Map // keys of admittedKey
	warned   sync.Map // names of images
}

type findKey struct{ image, platform string }

// verdict is what a policy has decided.
type verdict struct{ denied *DeniedError }

// NewGuard returns a guard for a build that ends with life. warn takes one line for each image that is denied and used all the
// same.
func NewGuard(life context.Context, r Registry, p *Images, mode Mode, v Verifier, warn func(string)) *Guard {
	return &Guard{Registry: r, policy: p, mode: mode, verifier: v, warn: warn, life: life}
}

// Admit decides about an image of a registry for a platform. It returns the reference by which the image is to be
// read: with the digest that the decision holds for, if it holds for one only. The error is a [*DeniedError] if the policy
// denies the image, and there is none then in the mode [Warn].
func (g *Guard) Admit(ctx context.Context, ref string, p op.Platform) (string, error) {
	i, err := NewImage(ref)
	if err != nil {
		return "", err
	}
	demands := g.policy.For(i)
	switch {
	case demands.Reject:
		return ref, g.deny(i, "")
	case len(demands.Signatures) == 0:
		return ref, nil
	}
	key := findKey{i.String(), p.String()}
	found, err := g.found.Do(ctx, g.life, key, func(ctx context.Context) (*registry.Found, error) { return g.Registry.Find(ctx, ref, p) })
	if err != nil {
		return "", err
	}
	v, err := g.verdicts.Do(ctx, g.life, key, func(ctx context.Context) (*verdict, error) { return g.decide(ctx, i, found, demands) })
	if err != nil && g.mode == Warn {
		v, err = &verdict{g.denial(i, err.Error())}, nil
	}
	if err != nil {
		return "", fmt.Errorf("policy %s: %w", g.policy, err)
	}
	name, _, _ := strings.Cut(ref, "@")
	pinned := name + "@" + found.Digest.String()
	if v.denied != nil {
		return pinned, g.refuse(v.denied)
	}
	return pinned, nil
}

// decide verifies signatures.
func (g *Guard) decide(ctx context.Context, i *Image, found *registry.Found, demands *Demands) (*verdict, error) {
	for _, s := range demands.Signatures {
		err := g.verifier.Verify(ctx, i, found, s)
		var unsigned *UnsignedError
		if errors.As(err, &unsigned) {
			return &verdict{g.denial(i, unsigned.Error())}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return &verdict{}, nil
}

// ResolveImage looks up an image that the policy allows; see [registry.Client.ResolveImage].
func (g *Guard) ResolveImage(ctx context.Context, ref string, p op.Platform, mode, layout string) (pinned string, dgst digest.Digest, config []byte, err error) {
	if ref, err = g.admit(ctx, ref, p, layout); err != nil {
		return "", "", nil, err
	}
	if pinned, dgst, config, err = g.Registry.ResolveImage(ctx, ref, p, mode, layout); err != nil {
		return "", "", nil, err
	}
	return pinned, dgst, config, g.remember(pinned, layout)
}

// Layers implements op.Images. Whoever asks for layers has resolved the image before; if not, it is decided about now.
func (g *Guard) Layers(ctx context.Context, img *op.Image) ([]layer.Layer, error) {
	key, err := admittedKey(img.Ref, img.Layout)
	if err != nil {
		return nil, err
	}
	if _, ok := g.admitted.Load(key); !ok {
		if _, err := g.admit(ctx, img.Ref, img.Platform, img.Layout); err != nil {
			return nil, err
		}
	}
	return g.Registry.Layers(ctx, img)
}

// ResolveLayout looks up an image that the policy allows in a local layout or archive; see [registry.Client.ResolveLayout].
func (g *Guard) ResolveLayout(ctx context.Context, store, id string, p op.Platform) (*registry.Image, error) {
	if err := g.admitLocal(ctx, store, id); err != nil {
		return nil, err
	}
	img, err := g.Registry.ResolveLayout(ctx, store, id, p)
	if err != nil {
		return nil, err
	}
	return img, g.remember(img.Ref, store)
}

func (g *Guard) admit(ctx context.Context, ref string, p op.Platform, layout string) (string, error) {
	if layout == "" {
		return g.Admit(ctx, ref, p)
	}
	key, err := admittedKey(ref, layout)
	if err != nil {
		return "", err
	}
	if _, ok := g.admitted.Load(key); ok { // by its tag, which is not known any more
		return ref, nil
	}
	_, id, _ := strings.Cut(ref, "@")
	return ref, g.admitLocal(ctx, layout, id)
}

// admitLocal decides about an image of a local layout or archive, which has no signatures.
func (g *Guard) admitLocal(ctx context.Context, store, id string) error {
	path, isLayout, err := g.Registry.Local(ctx, store)
	if err != nil {
		return err
	}
	i, err := NewLocalImage(path, id, isLayout)
	if err != nil {
		return err
	}
	demands := g.policy.For(i)
	switch {
	case demands.Reject:
		return g.deny(i, "")
	case len(demands.Signatures) > 0:
		return g.deny(i, "it must be signed, and images in local layouts and archives have no signatures")
	}
	return nil
}

// remember notes that an image, by its digest, has been decided about.
func (g *Guard) remember(pinned, layout string) error {
	key, err := admittedKey(pinned, layout)
	if err == nil {
		g.admitted.Store(key, true)
	}
	return err
}

// admittedKey is an image by where it is and its digest.
func admittedKey(pinned, layout string) (string, error) {
	if layout != "" {
		_, dgst, _ := strings.Cut(pinned, "@")
		return layout + "@" + dgst, nil
	}
	i, err := NewImage(pinned)
	if err != nil {
		return "", err
	}
	return i.String(), nil
}

func (g *Guard) denial(i *Image, why string) *DeniedError {
	return &DeniedError{Image: i.String(), Policy: g.policy.String(), Why: why}
}

func (g *Guard) deny(i *Image, why string) error { return g.refuse(g.denial(i, why)) }

// refuse is what the mode makes of a denial.
func (g *Guard) refuse(denied *DeniedError) error {
	if g.mode == Enforce {
		return denied
	}
	if _, again := g.warned.LoadOrStore(denied.Image, true); !again {
		g.warn(strings.Join(strings.Fields(denied.Error()), " ") + "; it is used all the same, as the policy's mode is " + string(Warn))
	}
	return nil
}
