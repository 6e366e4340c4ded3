// Package sentry is the process that is the kernel of a RUN: gVisor's sentry, linked into the
// builder's own binary and executed again. It needs no privilege and makes no namespaces; what
// it runs sees its files, users, mounts and processes, and the host's kernel only through it.
//
// The kernel shows images of layers, which it gets as open files, in a root filesystem without
// anything else, and runs the builder's own binary there as the first process (see package
// guest), with the descriptors of package supervisor.
package sentry

import (
	"encoding/gob"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/control/client"
	"gvisor.dev/gvisor/pkg/control/server"
	"gvisor.dev/gvisor/pkg/cpuid"
	"gvisor.dev/gvisor/pkg/fd"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/metric"
	_ "gvisor.dev/gvisor/pkg/sentry/platform/systrap" // registers itself
	"gvisor.dev/gvisor/pkg/timing"
	"gvisor.dev/gvisor/pkg/urpc"
	"gvisor.dev/gvisor/runsc/boot"
	"gvisor.dev/gvisor/runsc/config"
	"gvisor.dev/gvisor/runsc/flag"
	"gvisor.dev/gvisor/runsc/specutils"

	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
	"github.com/slipway-build/slipway/pkg/isolation/sandbox/internal/guest"
)

// Name is that of the process, for launch.Run.
const Name = "slipway: kernel of RUN"

// Where the kernel shows what, in its root filesystem.
const (
	ImagesDir = "/i" // images by their position: /i/0, …
	UpperDir  = "/u" // an empty filesystem, whose files are in the file at upperFD
)

// The descriptors that the builder passes beside standard streams. The first ones go on to the guest
// under the same numbers.
const (
	specFD    = 3 // instructions for the guest
	reportFD  = 4 // the guest's report
	changesFD = 5 // what the guest says that the RUN changed
	configFD  = 6 // a Config
	rootFD    = 7 // the image of the root filesystem
	upperFD   = 8 // an empty file, for what the RUN writes
	imagesFD  = 9 // and following: the images of layers
	// Those from 253 on are the kernel's own.
	controlFD = 252 // a socket for its control, which the filter of its system calls knows
)

// MaxImages is how many images a kernel takes.
const MaxImages = controlFD - imagesFD - 1

// Files arranges files in the order in which they have to be passed to the process, after the two
// that launch.Run passes itself. agents is nil if there are none.
func Files(changes, config, root, upper *os.File, images []*os.File, agents *os.File) []*os.File {
	files := append([]*os.File{changes, config, root, upper}, images...)
	if agents != nil {
		files = append(files, agents)
	}
	return files
}

// Config is what the kernel is asked to be. It comes through a pipe.
type Config struct {
	GuestName string // argv[0] of the first process
	Hostname  string
	Images    int  // how many images of layers there are
	Agents    bool // a socket for asking for ssh agents comes after them
	Network   bool // the pod's network, or else none but a loopback interface
	Filter    Filter
	// Paths relative to the working directory, at which there is nothing yet.
	Socket string // for the kernel's control
	Log    string // of a file for what goes wrong
}

// A process that was started under [Name] does its work here and ends, before the rest of the program is
// initialized.
func init() { //nolint:gochecknoinits // see above
	if len(os.Args) == 0 || os.Args[0] != Name {
		return
	}
	end(run())
}

// end ends the process with a status, or because of an error.
func end(code int, err error) {
	if err != nil {
		// There is no report then, and the builder tells what is written here.
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	unix.Exit(code)
}

// divert separates the standard streams of the process from those of the RUN, which are returned: what
// the kernel itself says goes to c.Log, as does what Go says of a crash.
func divert(c *Config) (run []int, err error) {
	for n := range 3 {
		d, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, rootFD)
		if err != nil {
			return nil, err
		}
		run = append(run, d)
	}
	own, err := unix.Open(c.Log, unix.O_WRONLY|unix.O_CREAT|unix.O_APPEND|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: c.Log, Err: err}
	}
	for n := range 3 {
		if err := unix.Dup3(own, n, 0); err != nil {
			return nil, err
		}
	}
	return run, unix.Close(own)
}

// run is the kernel until its first process has ended, and returns that one's exit status.
func run() (int, error) {
	started := time.Now()
	var c Config
	in := os.NewFile(configFD, "config")
	if err := gob.NewDecoder(in).Decode(&c); err != nil {
		return 0, fmt.Errorf("reading its configuration: %w", err)
	}
	if err := in.Close(); err != nil {
		return 0, err
	}
	stdio, err := divert(&c)
	if err != nil {
		return 0, fmt.Errorf("arranging its files: %w", err)
	}
	var heard listener
	log.SetTarget(&heard)
	cpuid.Initialize()
	l, control, err := load(&c, stdio, started)
	if err != nil {
		return 0, err
	}
	if !c.Network {
		args := boot.CreateLinksAndRoutesArgs{LoopbackLinks: []boot.LoopbackLink{boot.DefaultLoopbackLink}}
		if err := control.Call(boot.ContMgrSetNetworkArgs, &args, nil); err != nil {
			return 0, fmt.Errorf("making its loopback interface: %w", err)
		}
	}
	failed := make(chan error, 1)
	go func() {
		id := containerID
		failed <- control.Call(boot.ContMgrRootContainerStart, &id, nil)
	}()
	l.WaitForStartSignal()
	if err := l.Run(); err != nil {
		return 0, err
	}
	if err := <-failed; err != nil {
		return 0, err
	}
	status := l.WaitExit()
	if err := heard.write(os.Stderr); err != nil {
		return 0, err
	}
	// Not l.Destroy: it waits for those who control the kernel, and nothing of it outlives the process.
	return int(status.ExitStatus()), nil
}

// containerID names what runs in the kernel, to the kernel.
const containerID = "run"

// load makes the kernel, and a connection to its control.
func load(c *Config, stdio []int, started time.Time) (*boot.Loader, *urpc.Client, error) {
	conf, err := configure(c)
	if err != nil {
		return nil, nil, err
	}
	args, err := arguments(c, conf, stdio, started)
	if err != nil {
		return nil, nil, err
	}
	l, err := boot.New(*args)
	if err != nil {
		return nil, nil, err
	}
	// The processes that the platform has made by now it has to trace; nobody is to trace this one, which holds the RUN's
	// secrets, not even another kernel that was broken out of.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, nil, err
	}
	filtered(l, c.Filter)
	if err := metric.Initialize(); err != nil {
		return nil, nil, err
	}
	control, err := client.ConnectTo(c.Socket)
	if err != nil {
		return nil, nil, err
	}
	// Nobody else is to connect.
	return l, control, os.Remove(c.Socket)
}

// configure gives the options of the kernel, which are flags of runsc.
func configure(c *Config) (*config.Config, error) {
	network := "none"
	if c.Network {
		network = "host"
	}
	raw, err := rawSockets(c.Network)
	if err != nil {
		return nil, err
	}
	flags := flag.NewFlagSet(Name, flag.ContinueOnError)
	config.RegisterFlags(flags)
	err = flags.Parse([]string{
		"--platform=systrap", "--network=" + network, "--ignore-cgroups", "--directfs=false", "--overlay2=none", "--allow-suid", "--net-raw=" + strconv.FormatBool(raw),
		// Rewriting a program's system calls makes each faster by a sixth, but is done anew in every process, so that a RUN that
		// starts many, as builds do, takes a fifth longer; and programs that use GS or are traced do not stand it.
		"--systrap-disable-syscall-patching",
		// There is no chroot and no user of its own around the process, since it has no privilege to make them: the
		// pod is the outer wall.
		"--TESTONLY-unsafe-nonroot",
	})
	if err != nil {
		return nil, err
	}
	conf, err := config.NewFromFlags(flags)
	if err == nil {
		conf.DisableSeccomp = true // see filtered
	}
	return conf, err
}

// rawSockets tells whether there are raw sockets inside: those in the pod's network are its own, and need its
// permission.
func rawSockets(network bool) (bool, error) {
	have, err := host.Capabilities()
	return !network || have.Has(unix.CAP_NET_RAW), err
}

// arguments lists what the kernel is made of.
func arguments(c *Config, conf *config.Config, stdio []int, started time.Time) (*boot.Args, error) {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return nil, err
	}
	memory := uint64(info.Totalram) * uint64(info.Unit)
	control, err := server.CreateSocket(c.Socket)
	if err != nil {
		return nil, err
	}
	if err := unix.Dup3(control, controlFD, unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	if err := unix.Close(control); err != nil {
		return nil, err
	}
	exe, err := unix.Open("/proc/self/exe", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	a := &boot.Args{
		ID: containerID, Spec: spec(c), Conf: conf, StartupTimer: timing.New(Name, started),
		ControllerFD: controlFD, StdioFDs: stdio, ExecFD: exe,
		PassFDs: []boot.FDMapping{{Host: specFD, Guest: specFD}, {Host: reportFD, Guest: reportFD}, {Host: changesFD, Guest: changesFD}},
		Device:  fd.New(-1), PinRingFD: -1, DevGoferFD: -1, UserLogFD: -1, PodInitConfigFD: -1, RootfsUpperTarFD: -1,
		NumCPU: runtime.NumCPU(), TotalMem: memory, TotalHostMem: memory,
	}
	if c.Agents {
		a.PassFDs = append(a.PassFDs, boot.FDMapping{Host: imagesFD + c.Images, Guest: guest.AgentsFD})
	}
	image := specutils.GoferMountConf{Lower: specutils.Erofs, Upper: specutils.NoOverlay}
	a.GoferFDs = append(a.GoferFDs, rootFD)
	a.GoferFilestoreFDs = append(a.GoferFilestoreFDs, upperFD)
	a.GoferMountConfs = append(a.GoferMountConfs, image, specutils.GoferMountConf{Lower: specutils.NoneLower, Upper: specutils.AnonOverlay})
	for i := range c.Images {
		a.GoferFDs = append(a.GoferFDs, imagesFD+i)
		a.GoferMountConfs = append(a.GoferMountConfs, image)
	}
	return a, nil
}

// spec describes what is started: the guest, as root with every capability that there is inside.
func spec(c *Config) *specs.Spec {
	all := specutils.AllCapabilities().Bounding
	s := &specs.Spec{
		Version:  specs.Version,
		Hostname: c.Hostname,
		Root:     &specs.Root{Path: "/", Readonly: true},
		Process: &specs.Process{
			Args: []string{c.GuestName}, Env: []string{}, Cwd: "/",
			Capabilities: &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all, Inheritable: all},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc"},
			{Destination: "/sys", Type: "sysfs", Options: []string{"ro"}},
			{Destination: "/dev", Type: "dev"},
			{Destination: ImagesDir, Type: "tmpfs"},
			// Not "tmpfs", or its files would be in memory.
			{Destination: UpperDir, Type: "bind", Source: "upper", Options: []string{"noatime"}},
		},
		Linux: &specs.Linux{},
	}
	for i := range c.Images {
		s.Mounts = append(s.Mounts, specs.Mount{Destination: ImagesDir + "/" + strconv.Itoa(i), Type: "erofs", Options: []string{"ro"}})
	}
	return s
}
