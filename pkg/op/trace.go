package op

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// Part is a part of a key: what it is, in the user's words, and the beginning of a digest of it, in
// hexadecimal. Keys that differ have parts that differ.
type Part struct {
	Label string `json:"label"`
	Sum   string `json:"sum"`
}

// Trace collects the parts of a key while that is computed.
type Trace struct {
	Parts []Part
	hash  hash.Hash
	label string
}

type traceKey struct{}

// WithTrace has the key that is computed with the context note its parts in t.
func WithTrace(ctx context.Context, t *Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// part begins a part; "" ends the last one.
func (t *Trace) part(label string) {
	if t.hash != nil {
		t.Parts = append(t.Parts, Part{t.label, hex.EncodeToString(t.hash.Sum(nil)[:8])})
	}
	t.hash, t.label = nil, label
	if label != "" {
		t.hash = sha256.New()
	}
}

// traced has the key note its parts, if ctx asks for it.
func (k *keyHash) traced(ctx context.Context) *keyHash {
	k.trace, _ = ctx.Value(traceKey{}).(*Trace)
	return k
}

// part says what the fields that follow are.
func (k *keyHash) part(label string) *keyHash {
	if k.trace != nil {
		k.trace.part(label)
	}
	return k
}
