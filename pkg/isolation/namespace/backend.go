// Package namespace runs processes in Linux namespaces of their own, over overlayfs: every layer is
// unpacked once, and what a process changes is found in the upper directory, which is its
// layer without a copy.
//
// It needs a process that may unshare its namespaces: with CAP_SYS_ADMIN no user
// namespace is made; without it, one with an identity map, in which the process is allowed
// to mount. See [Probe] for what stands in the way in a given pod. Linux 5.12 or later.
//
// The builder's own binary is executed again as the first process of the namespaces: a program that
// imports this package is that process when it is started under its name (see package initproc).
package namespace

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
	"github.com/slipway-build/slipway/pkg/isolation/internal/unpack"
	"github.com/slipway-build/slipway/pkg/state"
)

// Name is the value of --isolation that selects this backend.
const Name = "namespace"

// Options of a Backend; the zero value is the usual choice.
type Options struct {
	// Workers is how many files are unpacked at once, 0 for a choice by the number
	// of processors.
	Workers int
}

// Backend implements [isolation.Backend].
type Backend struct {
	mode     mode
	unpacker *unpack.Unpacker

	// dir holds what this build needs: lower directories, and rID, the directory of one process.
	dir string
	ids atomic.Uint64

	lowers *lowers.Store

	mu    sync.Mutex
	roots []*os.Root // upper directories that layers are read from
}

var _ isolation.Backend = (*Backend)(nil)

// New returns a backend that keeps unpacked layers in st. The error matches
// *isolation.UnsupportedError if it cannot work in this pod, as for [Probe].
//
// The calling process can from then on not be traced by other processes of the same user, so
// that no RUN reads its memory, environment or open files.
func New(st *state.Dir, o Options) (*Backend, error) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("isolation: protecting this process: %w", err)
	}
	dir, err := st.TempDir("ns-")
	if err != nil {
		return nil, err
	}
	b := &Backend{dir: dir}
	if err := b.setUp(st, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return b, nil
}

func (b *Backend) setUp(st *state.Dir, o Options) error {
	for _, name := range []string{emptyLower, scratch} {
		if err := os.Mkdir(filepath.Join(b.dir, name), 0o755); err != nil {
			return fmt.Errorf("isolation: %w", err)
		}
	}
	var err error
	if b.mode, err = probe(context.Background(), b.dir); err != nil {
		return err
	}
	b.unpacker, err = unpack.New(unpack.Options{
		Xattrs: b.mode.xattrs, NoDevices: b.mode.noDevices, Workers: o.Workers,
	})
	if err != nil {
		return err
	}
	b.lowers, err = lowers.New(st, "unpacked", b.dir, form{b.unpacker, b.mode})
	return err
}

// Name implements [isolation.Backend].
func (b *Backend) Name() string { return Name }

// Close implements [isolation.Backend]: layers that Run returned cannot be read any more.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, r := range b.roots {
		errs = append(errs, r.Close())
	}
	b.roots = nil
	return errors.Join(append(errs, state.RemoveTree(b.dir))...)
}

// id gives names that are unique in this build and as short as mount(2) needs them.
func (b *Backend) id() string {
	return strconv.FormatUint(b.ids.Add(1), 36)
}
