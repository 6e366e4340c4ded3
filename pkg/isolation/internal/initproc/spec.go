// Package initproc is the process between the builder and a RUN (see package supervisor) that is
// started inside new namespaces. It mounts the root filesystem and everything in it, enters
// it, runs the command, and takes the mount points away again.
package initproc

import (
	"github.com/slipway-build/slipway/pkg/isolation/internal/overlay"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

// Name is that of the process, for [launch.Run].
const Name = "slipway: init of RUN"

// Spec is what the process is asked to do. Names of directories on the host are relative to the
// working directory that the process is started in, unless they begin with a slash.
type Spec struct {
	// ProbeOnly asks to set everything up and to run nothing.
	ProbeOnly bool

	// Sentry says that the kernel is gVisor's: it does without what else is asked of overlayfs, and
	// has no mount_setattr(2).
	Sentry bool

	// FreshProc asks for a new /proc, which needs a PID namespace; without it the
	// pod's is shown.
	FreshProc bool
	Xattrs    overlay.Xattrs
	Root      Overlay
	Scratch   string // an empty directory, to mount things on
	Mounts    []Mount
	Files     []File // provided read-only over the root's own
	ShmSize   int64  // bytes

	Hostname string
	Loopback bool // bring up the loopback interface

	Command supervisor.Command
	Cwd     string
	// NoDevices makes device files that are not in /dev impossible to open: in a pod with all privileges, a RUN could make one of
	// the node's disk.
	NoDevices bool
	// Unmasked leaves /proc and /sys as writable and readable as the pod has them.
	Unmasked bool
}

// Overlay is one overlayfs mount. Lowers are the lower directories, topmost first.
type Overlay struct {
	Lowers      []string
	Upper, Work string
	Mountpoint  string
	Flags       uintptr // of mount(2)
}

// Mount is one mount inside the root; exactly one of its sources is set.
type Mount struct {
	Target   string
	ReadOnly bool

	Overlay *Overlay // shown from Selector; mounts with the same Mountpoint show the same
	Dir     string   // a directory of the host, shown from Selector
	Socket  string   // a socket of the host
	Tmpfs   *Tmpfs
	Secret  *File // a file in memory

	Selector string
}

// Tmpfs is an in-memory filesystem; Size is in bytes, 0 for the kernel's default.
type Tmpfs struct{ Size int64 }

// File is a file in memory.
type File struct {
	Path     string
	Data     []byte
	Mode     uint32
	UID, GID uint32
}

// Steps for which the builder knows another way if they fail.
const (
	StepRoot = "mounting the root filesystem"
	StepProc = "mounting /proc"
)
