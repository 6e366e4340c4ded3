package tekton_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/moby/sys/capability"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	corev1 "k8s.io/api/core/v1"
)

// privileges is a Dockerfile in which every instruction after the first needs a capability, of which it has to be the
// first to need it. The base image has a device, and a file with capabilities.
const privileges = `FROM REGISTRY/devices:1
RUN touch /owned && chown demo:demo /owned
RUN echo text >> /owned
RUN chmod 600 /owned
RUN touch /special && chown 0:1000 /special && chmod 2755 /special && test -g /special
RUN su -s /bin/sh demo -c 'sleep 60 & echo $! > /tmp/pid' && kill $(cat /tmp/pid)
RUN chroot / true
RUN test -c /device
`

// needed is a capability that the Task adds, and what is wrong without it.
type needed struct {
	name corev1.Capability
	// line is that of privileges which fails; if it is empty, RUN is refused, with the capability's name.
	line string
	// inPlace is whether that is so where RUN has no namespaces, rather than where it has.
	inPlace bool
}

func capabilities() []needed {
	return []needed{
		{name: "CHOWN", line: "Dockerfile:2"},
		{name: "DAC_OVERRIDE", line: "Dockerfile:3"},
		{name: "FOWNER", line: "Dockerfile:4"},
		{name: "FSETID", line: "Dockerfile:5"},
		{name: "KILL", line: "Dockerfile:6"},
		{name: "MKNOD", line: "Dockerfile:8"},
		{name: "SETFCAP"},
		{name: "SETGID"},
		{name: "SETPCAP", inPlace: true},
		{name: "SETUID"},
		{name: "SYS_CHROOT", line: "Dockerfile:7"},
	}
}

// added are those that the Task adds, in its order.
func added() []corev1.Capability {
	var names []corev1.Capability
	for _, c := range capabilities() {
		names = append(names, c.name)
	}
	return names
}

// maskOf is a set of capabilities as the kernel writes it.
func maskOf(names []corev1.Capability) uint64 {
	var mask uint64
	for _, c := range capability.ListKnown() {
		if slices.Contains(names, corev1.Capability(strings.ToUpper(c.String()))) {
			mask |= 1 << c
		}
	}
	return mask
}

// without removes a capability from the Task.
func without(name corev1.Capability) func(*v1.Task) {
	return func(task *v1.Task) {
		c := task.Spec.Steps[0].SecurityContext.Capabilities
		c.Add = slices.DeleteFunc(slices.Clone(c.Add), func(n corev1.Capability) bool { return n == name })
	}
}

// serveDevices starts a registry with an image that has a device node, and a file with capabilities.
func serveDevices(t *testing.T) string {
	t.Helper()
	registry := serve(t)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	// Version 2 of struct vfs_cap_data, with CAP_NET_BIND_SERVICE.
	bindService := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeChar, Name: "device", Mode: 0o666, Devmajor: 1, Devminor: 3},
		{Typeflag: tar.TypeReg, Name: "capable", Mode: 0o755, PAXRecords: map[string]string{"SCHILY.xattr.security.capability": bindService}},
	} {
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(shared.base, layer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Push(t.Context(), "devices:1", image); err != nil {
		t.Fatal(err)
	}
	return registry.Host
}

func privileged(seccomp bool, change func(*v1.Task)) build {
	return build{
		params: map[string]any{"IMAGE": image}, source: map[string]string{"Dockerfile": privileges}, seccomp: seccomp, change: change,
	}
}

// TestCapabilitiesSuffice is the other half of the next test: with all of them, everything works in either shape.
func TestCapabilitiesSuffice(t *testing.T) {
	host := serveDevices(t)
	for name, seccomp := range map[string]bool{"namespaces": false, "in place": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			privileged(seccomp, nil).runAt(t, host).succeeded(t)
		})
	}
}

// TestCapabilitiesAreNeeded removes one capability after the other.
func TestCapabilitiesAreNeeded(t *testing.T) {
	host := serveDevices(t)
	for _, c := range capabilities() {
		t.Run(string(c.name), func(t *testing.T) {
			t.Parallel()
			b := privileged(c.inPlace, without(c.name))
			// The sandbox, which auto would come to, needs none of them.
			b.params["ISOLATION"] = map[bool]string{true: "inplace", false: "namespace"}[c.inPlace]
			o := b.runAt(t, host)
			if c.line != "" {
				o.failed(t, 1, "RunFailed", c.line)
			} else {
				o.failed(t, 77, "IsolationUnavailable", string(c.name))
			}
		})
	}
}

// TestContainerHasTheTasksCapabilities asks the kernel what the container has.
func TestContainerHasTheTasksCapabilities(t *testing.T) {
	b := privileged(false, func(task *v1.Task) {
		step := &task.Spec.Steps[0]
		step.Image, step.Command, step.Args = debugImage, []string{"/busybox/cat"}, []string{"/proc/self/status"}
	})
	log := b.runAt(t, "registry.example.com").log()
	want := maskOf(added())
	for _, set := range []string{"CapBnd", "CapPrm", "CapEff"} {
		if line := fmt.Sprintf("%s:\t%016x\n", set, want); !strings.Contains(log, line) {
			t.Errorf("the container does not have %s:\n%s", line, log)
		}
	}
}

// TestCapabilitiesOfRun has RUN say what it may have at most: what the Task adds, and of what somebody adds to that, what
// docker build gives too. In either shape.
func TestCapabilitiesOfRun(t *testing.T) {
	further := []corev1.Capability{"NET_BIND_SERVICE", "AUDIT_WRITE", "NET_RAW"}
	for name, add := range map[string][]corev1.Capability{"as it is": nil, "with further ones": further} {
		for _, seccomp := range both() {
			t.Run(fmt.Sprintf("%s, without namespaces: %t", name, seccomp), func(t *testing.T) {
				t.Parallel()
				o := build{
					params: map[string]any{"IMAGE": image}, seccomp: seccomp,
					source: map[string]string{"Dockerfile": "FROM REGISTRY/base:1\nRUN grep CapBnd /proc/self/status > /capabilities\n"},
					change: func(task *v1.Task) {
						c := task.Spec.Steps[0].SecurityContext.Capabilities
						c.Add = slices.Concat(c.Add, add)
					},
				}.run(t)
				o.succeeded(t)
				want := fmt.Sprintf("CapBnd:\t%016x\n", maskOf(slices.Concat(added(), add)))
				checkContents(t, filesOf(t, imageOf(t, o.pushed(t, image, nil))), map[string]string{"capabilities": want})
			})
		}
	}
}
