// Package sandbox runs processes on a kernel in user space: gVisor's sentry, on its systrap platform. It
// needs no permission at all: any uid, no capabilities, no-new-privileges, RuntimeDefault seccomp. Root,
// users, owners, mounts and processes are those of that kernel, and what a process does to its files
// comes back as a stream.
//
// Each RUN has a kernel of its own: the builder's own binary, executed again (package sentry), which
// reads layers from EROFS images and executes the binary once more as its first process (package
// guest). A program that imports this package is one of them when it is started under its name.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/lowers"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/erofs"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/sentry"
	"github.com/slipway-build/slipway/pkg/state"
)

// Name is the value of --isolation that selects this backend.
const Name = "sandbox"

// Backend implements [isolation.Backend].
type Backend struct {
	// dir holds what this build needs: images of layers, and the kernels' sockets.
	dir    string
	state  *state.Dir
	root   string // path of the image of the kernels' root filesystem
	lowers *lowers.Store
	ids    atomic.Uint64

	// online and offline give the filters of kernels with a network and without.
	online, offline func() (sentry.Filter, error)

	mu     sync.Mutex
	spools []*os.File // which layers are read from
}

var _ isolation.Backend = (*Backend)(nil)

// New returns a backend that keeps images of layers in st. The error matches
// *isolation.UnsupportedError if this program cannot be a kernel. Whether one works in this pod shows when
// the first is started: see [Probe].
//
// The calling process can from then on not be traced by other processes of the same user: a process
// that would break out of its kernel finds neither memory nor environment of the builder.
func New(ctx context.Context, st *state.Dir) (*Backend, error) {
	if err := checkBinary(); err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("isolation: protecting this process: %w", err)
	}
	if err := adoptOrphans(); err != nil {
		return nil, fmt.Errorf("isolation: becoming the parent of orphans: %w", err)
	}
	dir, err := st.TempDir("sb-")
	if err != nil {
		return nil, err
	}
	b := &Backend{dir: dir, state: st, root: filepath.Join(dir, "root")}
	b.online = sync.OnceValues(func() (sentry.Filter, error) { return sentry.Compile(true) })
	b.offline = sync.OnceValues(func() (sentry.Filter, error) { return sentry.Compile(false) })
	if err := b.setUp(ctx); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return b, nil
}

func (b *Backend) setUp(ctx context.Context) (err error) {
	if b.lowers, err = lowers.New(b.state, "images", b.dir, form{}); err != nil {
		return err
	}
	return writeRoot(ctx, b.root)
}

// filter gives the filter of kernels, compiled for the first of them.
func (b *Backend) filter(network bool) (sentry.Filter, error) {
	if network {
		return b.online()
	}
	return b.offline()
}

// writeRoot writes the image of the kernels' root filesystem, which has nothing but mount points.
func writeRoot(ctx context.Context, path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("isolation: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	nodes := []erofs.Node{{Mode: unix.S_IFDIR | 0o755}}
	for _, name := range []string{"proc", "sys", "dev", "tmp", sentry.ImagesDir[1:], sentry.UpperDir[1:]} {
		nodes = append(nodes, erofs.Node{Path: name, Mode: unix.S_IFDIR | 0o755})
	}
	_, err = erofs.Write(ctx, f, nodes, nil)
	return err
}

// Name implements [isolation.Backend].
func (b *Backend) Name() string { return Name }

// Close implements [isolation.Backend]: layers that Run returned cannot be read any more.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, f := range b.spools {
		errs = append(errs, f.Close())
	}
	b.spools = nil
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

func (b *Backend) id() string { return strconv.FormatUint(b.ids.Add(1), 36) }

func (b *Backend) path(name string) string { return filepath.Join(b.dir, name) }
