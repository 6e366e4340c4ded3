package build

import (
	"context"
	"fmt"
	"sync"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/namespace"
	"github.com/slipway-build/slipway/pkg/state"
)

// isolation gives the backend of --isolation.
func (s *session) isolation() (isolation.Backend, error) {
	switch s.Isolation {
	case "", "auto", namespace.Name:
		return &lazyBackend{state: s.state}, nil
	}
	return nil, &UsageError{fmt.Errorf("isolation %q is not one of auto, %s", s.Isolation, namespace.Name)}
}

// lazyBackend sets the backend up when the first RUN needs it: a build without RUN works in any
// pod.
type lazyBackend struct {
	state *state.Dir

	mu      sync.Mutex
	backend isolation.Backend
	err     error
}

// Name implements isolation.Backend.
func (l *lazyBackend) Name() string { return namespace.Name }

// Run implements isolation.Backend.
func (l *lazyBackend) Run(ctx context.Context, p *isolation.Process) (*isolation.Changes, error) {
	b, err := l.get()
	if err != nil {
		return nil, err
	}
	return b.Run(ctx, p)
}

func (l *lazyBackend) get() (isolation.Backend, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.backend == nil && l.err == nil {
		b, err := namespace.New(l.state, namespace.Options{})
		if err != nil {
			l.err = err
			return nil, err
		}
		l.backend = b
	}
	return l.backend, l.err
}

// Close implements isolation.Backend.
func (l *lazyBackend) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.backend == nil {
		return nil
	}
	return l.backend.Close()
}
