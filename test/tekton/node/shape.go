package node

import (
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-build/slipway/test/pod"
)

// shape is what the securityContexts of pod and container, the image and kubelet's configuration make of a container.
func (n *Node) shape(p *corev1.Pod, c corev1.Container, image Image) (pod.Shape, error) {
	security, forPod := orZero(c.SecurityContext), orZero(p.Spec.SecurityContext)
	if err := known(security, forPod); err != nil {
		return pod.Shape{}, err
	}
	shape := pod.Shape{
		Name:            c.Name,
		UserNamespace:   p.Spec.HostUsers != nil && !*p.Spec.HostUsers,
		NoNewPrivileges: security.AllowPrivilegeEscalation != nil && !*security.AllowPrivilegeEscalation,
		ReadOnlyRoot:    orZero(security.ReadOnlyRootFilesystem),
		Privileged:      orZero(security.Privileged),
	}
	var err error
	if shape.UID, err = user(security, forPod, image); err != nil {
		return pod.Shape{}, err
	}
	profile := security.SeccompProfile
	if profile == nil {
		profile = forPod.SeccompProfile
	}
	switch {
	case profile == nil:
		shape.RuntimeDefault = n.SeccompDefault
	case profile.Type == corev1.SeccompProfileTypeRuntimeDefault:
		shape.RuntimeDefault = true
	case profile.Type != corev1.SeccompProfileTypeUnconfined:
		return pod.Shape{}, fmt.Errorf("this node has no seccomp profile of type %s", profile.Type)
	}
	if security.Capabilities != nil {
		err = capabilities(&shape, security.Capabilities)
	}
	return shape, err
}

// known refuses what would be passed over below.
func known(security corev1.SecurityContext, forPod corev1.PodSecurityContext) error {
	security.Capabilities, security.Privileged, security.RunAsUser, security.RunAsGroup, security.RunAsNonRoot = nil, nil, nil, nil, nil
	security.ReadOnlyRootFilesystem, security.AllowPrivilegeEscalation, security.SeccompProfile = nil, nil, nil
	forPod.RunAsUser, forPod.RunAsGroup, forPod.RunAsNonRoot, forPod.SeccompProfile = nil, nil, nil, nil
	if !reflect.ValueOf(security).IsZero() || !reflect.ValueOf(forPod).IsZero() {
		return fmt.Errorf("the securityContext has fields that this node does not know: %+v, %+v", security, forPod)
	}
	return nil
}

// user is the user that the container runs as. The harness knows no group but the user's own.
func user(security corev1.SecurityContext, forPod corev1.PodSecurityContext, image Image) (uint32, error) {
	uid := first(security.RunAsUser, forPod.RunAsUser, &image.User)
	// An image's group, for a user that it names, is the user's; any other user has group 0.
	group := int64(0)
	if uid == image.User {
		group = image.User
	}
	gid := first(security.RunAsGroup, forPod.RunAsGroup, &group)
	if uid != gid {
		return 0, fmt.Errorf("user %d with group %d", uid, gid)
	}
	if orZero(first(&security.RunAsNonRoot, &forPod.RunAsNonRoot)) && uid == 0 {
		return 0, fmt.Errorf("container has runAsNonRoot and image will run as root")
	}
	return uint32(uid), nil
}

// capabilities sets those of the shape. A container starts with the runtime's default ones.
func capabilities(shape *pod.Shape, c *corev1.Capabilities) error {
	for _, name := range c.Drop {
		if name != "ALL" {
			return fmt.Errorf("the harness drops all capabilities, not %s alone", name)
		}
		shape.DropAll = true
	}
	for _, name := range c.Add {
		if name == "ALL" {
			return fmt.Errorf("the harness adds capabilities by name, not all")
		}
		shape.AddCapabilities = append(shape.AddCapabilities, "CAP_"+strings.TrimPrefix(string(name), "CAP_"))
	}
	return nil
}

func orZero[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// first is the first value that is there; the last one must be.
func first[T any](values ...*T) T {
	for _, v := range values {
		if v != nil {
			return *v
		}
	}
	return *values[len(values)-1]
}
