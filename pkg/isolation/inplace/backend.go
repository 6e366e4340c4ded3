// Package inplace runs processes in the pod's own root directory: the content of the root is moved
// aside, that of the tree is moved in, the process runs, and everything is moved back. It works where
// no namespace can be made and nothing mounted, and takes uid 0 with the capabilities that a container
// has by default.
//
// The process runs in the pod's own namespaces and sees, beside the tree under build, what cannot
// be moved away: the mount points of the pod with the directories above them, the builder's state
// directory, and the directory [StoreName], where the trees and the pod's own files are meanwhile.
// It can read, and as root destroy, what is there.
//
// The builder's own binary is executed again as the parent of the process, so main must call [Init]
// before anything else.
package inplace

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/inplace/internal/swap"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
	"github.com/slipway-build/slipway/pkg/isolation/internal/rootpath"
	"github.com/slipway-build/slipway/pkg/state"
)

// Name is the value of --isolation that selects this backend.
const Name = "inplace"

// Marker is the file that says that a root filesystem is an image of ours, in which this backend
// may work: never the root of somebody's machine.
const Marker = "/etc/slipway-image"

// StoreName is the directory of the root in which trees are kept.
const StoreName = ".slipway"

// Options of a Backend; the zero value is the usual choice.
type Options struct {
	// Root is the directory whose content is exchanged, "/" if empty. "/" needs [Marker] in
	// it; in any other the process is confined by chroot(2).
	Root string
	// Keep are absolute paths, beside the state directory, that the builder needs while a
	// process runs, such as the build context. They stay, and the process sees them.
	Keep []string
	// Leave makes Close leave the trees of the processes in [StoreName], where the container's end or the next
	// backend in it removes them: removing takes longer than some processes do.
	Leave bool
	// Note, if set, is told once about each path of an image that cannot be laid over a
	// mount point.
	Note func(text string)
}

// Backend implements [isolation.Backend].
type Backend struct {
	state    *state.Dir
	root     string
	store    string // StoreName below root
	contents string // where the contents of layers are kept
	keep     []string
	leave    bool
	note     func(string)
	caps     isolation.Capabilities
	lock     *os.File
	swap     *swap.Swap

	mu     sync.Mutex // held by the process that runs
	closed bool
	trees  []*treeDir
	ids    int
	runs   int // how many processes ran
	noted  map[string]bool
	opened []io.Closer // files and directories that layers are read from
}

var _ isolation.Backend = (*Backend)(nil)

// New returns a backend for this process, after putting right what an earlier one that was killed
// left behind. The error matches *isolation.UnsupportedError if it cannot work here.
//
// The calling process can from then on not be traced by other processes of the same user, so
// that no RUN reads its memory, environment or open files.
func New(st *state.Dir, o Options) (*Backend, error) {
	if o.Root == "" {
		o.Root = "/"
	}
	b := &Backend{
		state: st, root: filepath.Clean(o.Root), keep: append([]string{st.Path()}, o.Keep...), leave: o.Leave,
		note: o.Note, noted: map[string]bool{},
	}
	b.store = filepath.Join(b.root, StoreName)
	if err := probe(b.root); err != nil {
		return nil, err
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("isolation: protecting this process: %w", err)
	}
	// Read once and kept by the package: during a RUN, the image's would be found in their place.
	if _, err := x509.SystemCertPool(); err != nil {
		return nil, fmt.Errorf("isolation: reading the pod's certificates: %w", err)
	}
	var err error
	if b.caps, err = host.Capabilities(); err != nil {
		return nil, err
	}
	if b.contents, err = st.TempDir("inplace-"); err != nil {
		return nil, err
	}
	if err := b.claim(); err != nil {
		return nil, err
	}
	return b, nil
}

// claim takes the store for this process alone and repairs the root.
func (b *Backend) claim() error {
	// Others may pass through, to reach what mounts are emulated with.
	err := keepRootTimes(b.root, func() error { return os.Mkdir(b.store, 0o711) })
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("isolation: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(b.store, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("isolation: %w", err)
	}
	if err := flock(lock); err != nil {
		return errors.Join(b.unsupported("a second build in this pod", "the other one has the root filesystem: "+err.Error()), lock.Close())
	}
	b.lock = lock
	b.swap = swap.New(b.root, b.store)
	b.swap.Mounts = b.mountPoints
	undone, err := b.swap.Undo()
	if err == nil {
		err = b.clear()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("isolation: repairing what an interrupted build left: %w", err), lock.Close())
	}
	if err := marked(b.root); err != nil {
		return errors.Join(err, lock.Close())
	}
	if undone.Tree != "" {
		b.tell("an earlier build was interrupted while its files were in the root directory: restored it")
	}
	return nil
}

// lockPatience is how long the processes of a builder that was killed may take to end: they
// have its lock, too.
const lockPatience = 2 * time.Second

// flock locks f, waiting a little.
func flock(f *os.File) error {
	deadline := time.Now().Add(lockPatience)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(lockPatience / 100)
	}
}

// clear removes trees and everything else in the store but the lock.
func (b *Backend) clear() error {
	names, err := os.ReadDir(b.store)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range names {
		if e.Name() == "hold" {
			return fmt.Errorf("%s is there without a journal, and may be the pod's own files", b.inStore("hold"))
		}
		if e.Name() != "lock" {
			errs = append(errs, b.removeAll(filepath.Join(b.store, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// Name implements [isolation.Backend].
func (b *Backend) Name() string { return Name }

// Close implements [isolation.Backend]: layers that Run returned cannot be read any more. The root is as it was before
// New, but for trees that are to be left.
func (b *Backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil
	}
	b.closed = true
	var errs []error
	for _, r := range b.opened {
		errs = append(errs, r.Close())
	}
	for _, d := range b.trees {
		errs = append(errs, d.lent.Close())
	}
	leave := b.leave && len(b.trees) > 0
	b.opened, b.trees = nil, nil
	errs = append(errs, state.RemoveTree(b.contents))
	if _, err := b.swap.Undo(); err != nil {
		return errors.Join(append(errs, err, b.lock.Close())...) // what is in the store may be the pod's own
	}
	if !leave {
		errs = append(errs, b.removeStore())
	}
	return errors.Join(append(errs, b.lock.Close())...)
}

// removeStore removes the store as if it had never been there.
func (b *Backend) removeStore() error {
	if err := b.clear(); err != nil {
		return err
	}
	return keepRootTimes(b.root, func() error { return b.removeAll(b.store) })
}

// keepRootTimes runs change and gives the directory at path back the times that it had before.
func keepRootTimes(path string, change func() error) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return rootpath.KeepTimes(fd, change)
}

// tell passes a note on, once.
func (b *Backend) tell(text string) {
	if b.note != nil && !b.noted[text] {
		b.noted[text] = true
		b.note(text)
	}
}

// id gives names that are unique in the store.
func (b *Backend) id(prefix string) string {
	b.ids++
	return prefix + strconv.Itoa(b.ids)
}

func (b *Backend) inStore(name string) string { return filepath.Join(b.store, name) }

func (b *Backend) unsupported(what, reason string) error {
	return &isolation.UnsupportedError{Backend: Name, What: what, Reason: reason}
}

// Probe says whether this backend works in the pod that the caller runs in. The error is an
// *isolation.UnsupportedError whose Reason names what is missing.
func Probe(context.Context) error { return probe("/") }
