// Package isolation defines how a RUN is executed over a tree: the contract that every
// backend (namespace, inplace, sandbox) implements.
package isolation

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Backend executes processes over trees.
//
// Run materializes p.Root, makes p.Mounts visible in it, runs the process to its end, and
// returns what changed in the root as a new layer to be pushed onto p.Root. The tree
// itself is never modified. In order:
//
//  1. Everything of p is checked before anything is materialized: what the backend cannot
//     honor is an [UnsupportedError], never ignored.
//  2. /proc, /dev and /sys exist for the process, /etc/resolv.conf and /etc/hosts are
//     provided; of all these and of the mount points nothing is left in the layer, except
//     what the process itself made elsewhere. /etc/hostname is the image's own.
//  3. p.Cwd is created if it is missing, mode 0755, owned by the process's user.
//  4. The process sees p.Env and nothing else of the builder's environment.
//  5. When the process has ended, everything it left running is killed before Run returns.
//  6. A process that ends with another status than 0 gives an [ExitError] and no layer.
//  7. Canceling ctx kills the process; Run then returns an error matching ctx.Err().
//
// Backends that report Parallel run several processes at once; the others queue them.
// Layers returned by Run stay readable until Close.
type Backend interface {
	// Name is the value of --isolation that selects this backend.
	Name() string
	// Run executes one process; see the contract above. The layers in Changes
	// belong to the root and to p.Mounts with Output set, in this order.
	Run(ctx context.Context, p *Process) (*Changes, error)
	// Close ends the backend and removes what it keeps outside of the state
	// directory's caches.
	Close() error
}

// Checker is implemented by backends that can say before the first Run what they cannot honor of
// a process.
type Checker interface {
	// Check refuses what Run would refuse, with the same error. p.Root may be nil.
	Check(p *Process) error
}

// CacheFiller is implemented by backends that keep the owners of files in the directories of cache mounts in a way of their own.
type CacheFiller interface {
	// FillCache gives dir, the empty directory of a cache mount, the content and metadata of the directory n.
	FillCache(ctx context.Context, n *tree.Node, dir string) error
}

// Changes is the outcome of a process that ended with status 0.
type Changes struct {
	// Root holds what the process changed in the root tree. Never nil; without
	// changes its index is empty.
	Root layer.Layer
	// Outputs holds, by index into Process.Mounts, the changes of those bind mounts
	// that asked for them with Mount.Output.
	Outputs map[int]layer.Layer
}

// Process describes one RUN.
type Process struct {
	Root   *tree.Tree
	Mounts []Mount // in the order in which they are mounted: parents first

	Args []string // Args[0] is looked up in the PATH of Env if it has no slash
	Env  []string // KEY=value, complete
	Cwd  string   // absolute
	User tree.User

	Hostname string // "" for the backend's default, "buildkitsandbox"
	Hosts    []Host // additional lines of /etc/hosts
	Network  Network
	Insecure bool // --security=insecure: all capabilities the pod has
	Ulimits  []Ulimit
	// ShmSize is the size of /dev/shm in bytes, 0 for the default of 64 MiB.
	ShmSize int64
	// CgroupParent and Resources are honored where cgroups are writable and
	// refused elsewhere.
	CgroupParent string
	Resources    *Resources

	Stdin          io.Reader // nil for an empty one
	Stdout, Stderr io.Writer
}

// Network is the network a process gets.
type Network uint8

// The networks of RUN --network. NetworkDefault is the pod's, as NetworkHost.
const (
	NetworkDefault Network = iota
	NetworkHost
	NetworkNone
)

// Host is one additional entry of /etc/hosts.
type Host struct{ Name, IP string }

// Ulimit is one resource limit, by its name in setrlimit(2) without RLIMIT_ and in lower
// case ("nofile"). -1 means unlimited.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Resources are cgroup limits; zero values are unset.
type Resources struct {
	Memory, MemorySwap   int64 // bytes
	CPUShares, CPUPeriod uint64
	CPUQuota             int64
	CPUSetCPUs           string
	CPUSetMems           string
}

// MountType is the kind of a [Mount].
type MountType uint8

// The kinds of mounts that a Dockerfile can ask for.
const (
	MountBind   MountType = iota + 1 // Tree at Selector; writes are discarded, or collected with Output
	MountCache                       // a directory of the host that persists
	MountTmpfs                       // an empty in-memory filesystem
	MountSecret                      // a file with Data
	MountSSH                         // a socket of the host
)

// Mount is one RUN --mount. Missing mount points are created and removed again.
type Mount struct {
	Type     MountType
	Target   string // absolute
	ReadOnly bool

	Tree     *tree.Tree // MountBind, and MountCache as its first content
	Selector string     // path inside Tree or HostDir, "" for all
	Output   bool       // MountBind: the changes are wanted

	HostDir    string // MountCache: directory on the host, already locked by the caller
	HostSocket string // MountSSH: socket on the host
	Size       int64  // MountTmpfs: bytes, 0 for no limit of its own

	Data     []byte      // MountSecret
	UID, GID uint32      // MountSecret, MountSSH
	Mode     fs.FileMode // MountSecret, MountSSH: permission bits
}

// ExitError says how a process failed.
type ExitError struct {
	Code   int            // exit code, or 128+signal
	Signal syscall.Signal // 0 unless killed by a signal
	OOM    bool           // killed because memory ran out
	Args   []string
	Err    error // why the process could not be started; nil if it was
	// Lacking are the names of system calls that were made in vain, as the backend's own kernel lacks them, or what
	// was asked of them.
	Lacking []string
}

// Unwrap returns why the process could not be started.
func (e *ExitError) Unwrap() error { return e.Err }

// Error implements error.
func (e *ExitError) Error() string {
	command := strings.Join(e.Args, " ")
	switch {
	case e.Err != nil:
		return fmt.Sprintf("process %q could not be started: %v (exit code: %d)", command, e.Err, e.Code)
	case e.OOM:
		return fmt.Sprintf("process %q was killed: out of memory (exit code: %d)", command, e.Code)
	case e.Signal != 0:
		return fmt.Sprintf("process %q was killed by signal %d (%s), exit code: %d%s", command, int(e.Signal), e.Signal, e.Code, e.lacking())
	}
	return fmt.Sprintf("process %q did not complete successfully: exit code: %d%s", command, e.Code, e.lacking())
}

// lacking explains failures for which the backend may be the reason.
func (e *ExitError) lacking() string {
	if len(e.Lacking) == 0 {
		return ""
	}
	return fmt.Sprintf("; maybe because the sandbox's kernel does not have all of Linux's system calls: it was asked in vain for %s (see docs/isolation.md)", strings.Join(e.Lacking, ", "))
}

// UnsupportedError says what a backend cannot do in this pod, and why.
type UnsupportedError struct {
	Backend string // "" for all of them
	What    string // "RUN --network=none"
	Reason  string // "needs a network namespace, and seccomp forbids unshare"
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	if e.Backend == "" {
		return fmt.Sprintf("%s is not possible here: %s", e.What, e.Reason)
	}
	return fmt.Sprintf("%s is not possible with isolation %q: %s", e.What, e.Backend, e.Reason)
}
