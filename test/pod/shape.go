package pod

import (
	"context"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Shape is what the securityContext of a pod makes of its containers. Shapes are values:
// a test may take one of the functions below and change a field.
type Shape struct {
	// Name is for the names of tests.
	Name string
	// RuntimeDefault is seccompProfile.type: RuntimeDefault.
	RuntimeDefault bool
	// UserNamespace is hostUsers: false.
	UserNamespace bool
	// UID is runAsUser and runAsGroup.
	UID uint32
	// DropAll is capabilities.drop: [ALL].
	DropAll bool
	// AddCapabilities is capabilities.add, with the prefix CAP_.
	AddCapabilities []string
	// NoNewPrivileges is allowPrivilegeEscalation: false.
	NoNewPrivileges bool
	// ReadOnlyRoot is readOnlyRootFilesystem: true.
	ReadOnlyRoot bool
	// Privileged is privileged: true.
	Privileged bool
}

// Default is a pod without any securityContext, in a cluster that does not set
// SeccompDefault: root, containerd's default capabilities, no seccomp profile.
func Default() Shape { return Shape{Name: "default"} }

// Baseline is Default with the runtime's seccomp profile, as many clusters enforce it.
func Baseline() Shape { return Shape{Name: "baseline", RuntimeDefault: true} }

// UserNS is Default with a user namespace of 65,536 ids.
func UserNS() Shape { return Shape{Name: "userns", UserNamespace: true} }

// Restricted is what the Pod Security Standard of that name demands.
func Restricted() Shape {
	return Shape{Name: "restricted", RuntimeDefault: true, UID: 1000, DropAll: true, NoNewPrivileges: true}
}

// ReadonlyRoot is Default with a root filesystem that cannot be written.
func ReadonlyRoot() Shape { return Shape{Name: "readonly-root", ReadOnlyRoot: true} }

// Privileged is a pod that may do everything that this machine's root may do.
func Privileged() Shape { return Shape{Name: "privileged", Privileged: true} }

// Shapes are all of the above.
func Shapes() []Shape {
	return []Shape{Default(), Baseline(), UserNS(), Restricted(), ReadonlyRoot(), Privileged()}
}

// The ids of a pod with a user namespace: as kubelet does it, a multiple of its size, above
// those of the node.
const (
	firstID = 2 * idCount
	idCount = 65536
)

// shift is what is added to the ids of the container on the node.
func (s Shape) shift() int {
	if s.UserNamespace {
		return firstID
	}
	return 0
}

// options turn containerd's default specification into that of this shape, in the order of
// containerd's CRI plugin.
func (s Shape) options() []oci.SpecOpts {
	opts := []oci.SpecOpts{
		// allowPrivilegeEscalation is true unless the pod says otherwise.
		oci.WithNewPrivileges,
		withoutRlimits,
		oci.WithUIDGID(s.UID, s.UID),
		withOwnGroup,
	}
	if s.DropAll {
		opts = append(opts, oci.WithCapabilities(nil))
	}
	if len(s.AddCapabilities) > 0 {
		opts = append(opts, oci.WithAddedCapabilities(s.AddCapabilities))
	}
	if s.NoNewPrivileges {
		opts = append(opts, oci.WithNoNewPrivileges)
	}
	if s.ReadOnlyRoot {
		opts = append(opts, oci.WithRootFSReadonly())
	}
	if s.UserNamespace {
		ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: firstID, Size: idCount}}
		opts = append(opts, oci.WithUserNamespace(ids, ids))
	}
	switch {
	case s.Privileged:
		opts = append(opts, oci.WithPrivileged, oci.WithHostDevices, oci.WithAllDevicesAllowed)
	case s.RuntimeDefault:
		// Last, because the profile depends on the capabilities.
		opts = append(opts, seccomp.WithDefaultProfile())
	}
	return opts
}

// withoutRlimits leaves limits to the node, as containerd's CRI plugin does.
func withoutRlimits(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
	s.Process.Rlimits = nil
	return nil
}

// withOwnGroup lists the process's group among its supplementary ones, as containerd's CRI
// plugin does.
func withOwnGroup(_ context.Context, _ oci.Client, _ *containers.Container, s *specs.Spec) error {
	s.Process.User.AdditionalGids = []uint32{s.Process.User.GID}
	return nil
}
