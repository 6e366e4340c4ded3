// Package initproc is the process between the builder and a RUN: the builder's own
// binary, executed again inside new namespaces. It mounts the root filesystem and
// everything in it, enters it, runs the command with lowered privilege, ends what the command
// left running, takes the mount points away again, and reports.
//
// Its instructions come through a pipe (as gob, because arguments and paths are any bytes), so that
// secrets are on no command line and in no environment. The builder keeps its end of the pipe open: when that closes,
// because the step was canceled or the builder died, everything is killed.
package initproc

import (
	"syscall"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/namespace/internal/overlay"
)

// Name is argv[0] of the process, by which [Main] knows that it is one.
const Name = "slipway: init of RUN"

// The descriptors that the builder passes.
const (
	SpecFD   = 3 // read: a Spec, then nothing until the end
	ReportFD = 4 // write: a Report
)

// Spec is what the process is asked to do. Names of directories on the host are relative to the
// working directory that the process is started in, unless they begin with a slash.
type Spec struct {
	// ProbeOnly asks to set everything up and to run nothing.
	ProbeOnly bool

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

	Args   []string
	Env    []string
	Cwd    string
	UID    uint32
	GID    uint32
	Groups []uint32
	// Capabilities is the bounding set of the command.
	Capabilities isolation.Capabilities
	// Unmasked leaves /proc and /sys as writable and readable as the pod has them.
	Unmasked bool
	Rlimits  []Rlimit
}

// Overlay is one overlayfs mount. Lowers are the lower directories, topmost first.
type Overlay struct {
	Lowers      []string
	Upper, Work string
	Mountpoint  string
}

// Mount is one mount inside the root; exactly one of its sources is set.
type Mount struct {
	Target   string
	ReadOnly bool

	Overlay *Overlay // shown from Selector
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

// Rlimit is a resource limit by its number in <asm/resource.h>.
type Rlimit struct {
	Resource   int
	Soft, Hard uint64
}

// Report is what became of it.
type Report struct {
	// Step and Error say what could not be set up; Errno is the cause, if it was a
	// system call. All empty if the command was to be started.
	Step  string
	Error string
	Errno syscall.Errno

	// StartError says why the command could not be executed; Code is then 126 or 127.
	StartError string
	Code       int            // exit code, or 128+signal
	Signal     syscall.Signal // 0 unless killed by a signal
}

// Steps for which the builder knows another way if they fail.
const (
	StepRoot = "mounting the root filesystem"
	StepProc = "mounting /proc"
)
