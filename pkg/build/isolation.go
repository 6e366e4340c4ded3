package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/inplace"
	"github.com/slipway-build/slipway/pkg/isolation/namespace"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/progress"
	"github.com/slipway-build/slipway/pkg/tree"
)

// candidate is a backend that --isolation can choose.
type candidate struct {
	name string
	open func() (isolation.Backend, error)
}

// isolation gives the backend of --isolation.
func (s *session) isolation() (*lazyBackend, error) {
	const auto = "auto"
	all := []candidate{
		{namespace.Name, func() (isolation.Backend, error) { return namespace.New(s.state, namespace.Options{}) }},
		{inplace.Name, func() (isolation.Backend, error) {
			return inplace.New(s.state, inplace.Options{Keep: s.needed(), Leave: !s.Cleanup, Note: s.note})
		}},
		{sandbox.Name, func() (isolation.Backend, error) { return sandbox.New(context.Background(), s.state) }},
	}
	if s.Isolation == "" || s.Isolation == auto {
		all[len(all)-1].open = s.probedSandbox
		return &lazyBackend{candidates: all, why: "the first choice, and it works in this pod"}, nil
	}
	names := []string{auto}
	for _, c := range all {
		if c.name == s.Isolation {
			return &lazyBackend{candidates: []candidate{c}, why: "as --isolation asks"}, nil
		}
		names = append(names, c.name)
	}
	return nil, &UsageError{fmt.Errorf("isolation %q is not one of %q", s.Isolation, names)}
}

// probedSandbox gives that backend where a kernel of it starts. One that is asked for shows that with
// its first RUN, which is faster.
func (s *session) probedSandbox() (isolation.Backend, error) {
	b, err := sandbox.New(context.Background(), s.state)
	if err != nil {
		return nil, err
	}
	if err := b.Probe(context.Background()); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (s *session) note(text string) { s.display.Warn(progress.Warning{Level: 1, Short: text}) }

// needed lists what the build reads while a RUN is under way, so far as it exists.
func (s *session) needed() []string {
	paths := slices.Collect(maps.Values(s.plan.layouts))
	for _, files := range s.plan.locals {
		if dir, ok := files.(op.Directory); ok { // archives are in the state directory
			paths = append(paths, string(dir))
		}
	}
	config := os.Getenv("DOCKER_CONFIG")
	if config == "" {
		config = filepath.Join(os.Getenv("HOME"), ".docker")
	}
	paths = append(paths, config)
	for _, h := range s.Registry.Hosts {
		paths = append(paths, h.CAFile, h.CertFile, h.KeyFile)
	}
	for _, store := range slices.Concat(s.cacheFrom, s.cacheTo) {
		paths = append(paths, strings.TrimPrefix(store.String(), "file://")) // which is no path for most
	}
	for _, socket := range s.agents.Sockets {
		paths = append(paths, socket)
	}
	var exist []string
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil || p == "" {
			continue
		}
		if _, err := os.Stat(abs); err == nil {
			exist = append(exist, abs)
		}
	}
	return exist
}

// lazyBackend sets a backend up when the first RUN needs it: a build without RUN works in any pod. Of
// several candidates it takes the first that works.
type lazyBackend struct {
	candidates []candidate
	why        string // the first candidate is taken

	mu      sync.Mutex
	backend isolation.Backend
	choice  string // a line that tells which it is and why, until it is logged
	err     error
}

// Name implements isolation.Backend.
func (l *lazyBackend) Name() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.backend == nil {
		return "auto"
	}
	return l.backend.Name()
}

// Run implements isolation.Backend.
func (l *lazyBackend) Run(ctx context.Context, p *isolation.Process) (*isolation.Changes, error) {
	b, err := l.get(p.Stderr)
	if err != nil {
		return nil, err
	}
	return b.Run(ctx, p)
}

// FillCache implements isolation.CacheFiller, for backends that do not do it themselves too.
func (l *lazyBackend) FillCache(ctx context.Context, n *tree.Node, dir string) error {
	b, err := l.get(nil)
	if err != nil {
		return err
	}
	return op.FillCache(ctx, b, n, dir)
}

// get returns the backend. The first log that it is given says which and why.
func (l *lazyBackend) get(log io.Writer) (isolation.Backend, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.backend == nil && l.err == nil {
		l.choose()
	}
	if log != nil && l.choice != "" {
		fmt.Fprint(log, l.choice)
		l.choice = ""
	}
	return l.backend, l.err
}

// choose sets the backend, or the error.
func (l *lazyBackend) choose() {
	var refused []error
	for _, c := range l.candidates {
		b, err := c.open()
		if err == nil {
			l.backend = b
			l.choice = fmt.Sprintf("isolation: %s (%s)\n", c.name, l.reason(refused))
			return
		}
		refused = append(refused, err)
		var unsupported *isolation.UnsupportedError
		if !errors.As(err, &unsupported) {
			break
		}
	}
	l.err = errors.Join(refused...)
}

// reason is one line.
func (l *lazyBackend) reason(refused []error) string {
	if len(refused) == 0 {
		return l.why
	}
	return strings.ReplaceAll(errors.Join(refused...).Error(), "\n", "; ")
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
