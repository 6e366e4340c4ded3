// Package pod runs containers that look to the process in them exactly as Kubernetes with
// containerd makes them: the default capabilities, the masked and read-only paths, the mounts
// and devices, the overlay root, and containerd's own seccomp profile. Tests use it to see
// what a build may do in pods of several shapes.
//
// The runtime is runc. Everything else of a node is imitated by this package: the snapshot
// and the idmapped mounts that containerd makes, the files, volumes and environment that kubelet
// provides, the cgroup of the pod. Not imitated are AppArmor and SELinux, and a container has no
// network but its loopback device unless it asks for the node's.
package pod

import (
	"io"
	"os"
	"syscall"
	"testing"
	"time"
)

// Spec describes a pod with one container.
type Spec struct {
	// Shape is the securityContext; the zero value is [Default] without its name.
	Shape Shape
	// Rootfs is the directory with the image's files; it is not written to.
	Rootfs string
	// Args is the command; Args[0] is looked up in PATH.
	Args []string
	// Env is the environment of image and container, KEY=VALUE; the runtime and kubelet add
	// theirs in front.
	Env []string
	// Dir is the working directory, "/" if empty.
	Dir string
	// Volumes are mounted into the container.
	Volumes []Volume
	// Token is the service account's, "not-a-token" if empty.
	Token string
	// Stdin is the standard input, empty if nil.
	Stdin io.Reader
	// Stderr gets what the container writes to its standard error, as it comes; nil for nobody.
	Stderr io.Writer
	// Timeout ends the test when the container runs longer; 2 minutes if 0.
	Timeout time.Duration
	// Memory is resources.limits.memory in bytes, 0 for no limit.
	Memory int64
	// HostNetwork is hostNetwork: true. Kubernetes forbids it together with a user namespace.
	HostNetwork bool
	// RootSize is how many bytes the container can write to its root filesystem, 0 for as many
	// as the node has.
	RootSize int64
	// TerminationMessagePath is where the container writes its termination message,
	// /dev/termination-log if empty.
	TerminationMessagePath string
	// Cgroup is the absolute path of the control group, which must not exist; "" for one of the pod's own making.
	Cgroup string
	// Scratch is a directory for all that the container writes outside of volumes; "" for one in the system's
	// temporary directory.
	Scratch string
	// DiffRoot asks for Result.RootDiff.
	DiffRoot bool
}

// Volume is a volume and its place in the container.
type Volume struct {
	// Path is where the container sees it.
	Path string
	// Host is the directory on the node, such as one made by [EmptyDir]. In a user
	// namespace it is mounted with shifted ids, so that owners on the node are those that
	// the container sees.
	Host string
	// ReadOnly is readOnly: true.
	ReadOnly bool
	// Owner is the user and group of the container to whom belongs what is root's on the node, and the other way round:
	// what a test prepares is then as if that user had. 0 leaves owners as they are; it excludes a user namespace.
	Owner uint32
	// Memory makes this an emptyDir with medium: Memory of so many bytes, instead of
	// Host.
	Memory int64
}

// EmptyDir makes a directory for a volume as kubelet makes it for an emptyDir: owned by root
// and writable by all. It is removed with the test.
func EmptyDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Result is how a container ended.
type Result struct {
	// ExitCode is that of the process, or 128 and the signal that killed it.
	ExitCode       int
	Stdout, Stderr string
	// Elapsed is the time from the start of the process to its end.
	Elapsed time.Duration
	// OOMKilled says whether the kernel killed a process of the container because the
	// memory limit was reached.
	OOMKilled bool
	// TerminationLog is the termination message, whole.
	TerminationLog string
	// RootDiff is what is different in the container's own root filesystem, without mounts,
	// from when the container was started; only if Spec.DiffRoot.
	RootDiff []Change
}

// Run runs a container to its end. What the test asked for and cannot be had ends the
// test; how the container's process ends is the caller's to judge.
func Run(t testing.TB, spec Spec) Result {
	t.Helper()
	return Start(t, spec).Wait()
}

// Pod is a running pod.
type Pod struct {
	t              testing.TB
	timeout        time.Duration
	container      *container
	stdout, stderr buffer
	ended          chan struct{} // closed when result and err are there
	result         Result
	err            error
}

// Start starts a container and returns when its process runs. It is killed at the end of
// the test.
func Start(t testing.TB, spec Spec) *Pod {
	t.Helper()
	Require(t)
	p := &Pod{t: t, timeout: spec.Timeout, ended: make(chan struct{})}
	if p.timeout == 0 {
		p.timeout = 2 * time.Minute
	}
	var err error
	if p.container, err = newContainer(&spec); err != nil {
		t.Fatalf("pod: %v", err)
	}
	t.Cleanup(func() {
		p.kill()
		if err := p.container.remove(); err != nil {
			t.Errorf("pod: %v", err)
		}
	})
	end := func(result Result, err error) {
		p.result, p.err = result, err
		close(p.ended)
	}
	inMountNamespace(
		func() { end(p.container.run(&spec, &p.stdout, &p.stderr)) },
		func(err error) { end(Result{}, err) },
	)
	if err := p.container.waitStarted(p.ended, p.timeout); err != nil {
		t.Fatalf("pod: %v\n%s", err, p.stderr.String())
	}
	return p
}

// Signal sends a signal to the container's first process, as kubelet does it to end a pod.
func (p *Pod) Signal(signal syscall.Signal) {
	p.t.Helper()
	if err := p.container.signal(signal); err != nil {
		p.t.Fatalf("pod: %v", err)
	}
}

// Expect waits until the container has written a text to its standard output or error. It ends the
// test if the container ends without.
func (p *Pod) Expect(text string) {
	p.t.Helper()
	deadline := time.After(p.timeout)
	for {
		// Asked first, so that what was written last is not missed.
		over := p.over()
		if p.stdout.contains(text) || p.stderr.contains(text) {
			return
		}
		if over {
			p.t.Fatalf("pod: the container ended (%v) without writing %q\n%s%s", p.err, text, p.stdout.String(), p.stderr.String())
		}
		select {
		case <-deadline:
			p.t.Fatalf("pod: the container did not write %q within %v\n%s%s", text, p.timeout, p.stdout.String(), p.stderr.String())
		case <-p.ended:
		case <-time.After(pollInterval):
		}
	}
}

// Wait waits for the end of the container.
func (p *Pod) Wait() Result {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(p.timeout):
		p.kill()
		p.t.Fatalf("pod: the container ran longer than %v\n%s%s", p.timeout, p.stdout.String(), p.stderr.String())
	}
	if p.err != nil {
		p.t.Fatalf("pod: %v\n%s", p.err, p.stderr.String())
	}
	return p.result
}

// kill ends the container and waits for that.
func (p *Pod) kill() {
	p.t.Helper()
	if p.over() {
		return
	}
	p.container.kill()
	<-p.ended
}

func (p *Pod) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
