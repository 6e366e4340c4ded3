// Package node runs a Pod as a node does: it makes the volumes, runs the init containers and then the containers with
// the harness test/pod, and says in the Pod's status how they ended. What a Pod asks for and this node does not have
// ends the test; nothing is passed over.
package node

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-build/slipway/test/pod"
)

// Image is an image that the node has.
type Image struct {
	// Rootfs is the directory with its files.
	Rootfs string
	// Env is the environment that its config gives, NAME=VALUE.
	Env []string
	// User is the user, and the group, that its config gives.
	User int64
}

// Node is a node of a cluster.
type Node struct {
	// Images are those that can be run, by their references.
	Images map[string]Image
	// Secrets and ConfigMaps are their files, by name.
	Secrets, ConfigMaps map[string]map[string]string
	// Claims are the directories behind PersistentVolumeClaims.
	Claims map[string]string
	// SeccompDefault is kubelet's flag of that name: a container without a seccompProfile has RuntimeDefault.
	SeccompDefault bool
}

// Pod is a Pod whose init containers have ended.
type Pod struct {
	t          testing.TB
	pod        *corev1.Pod
	containers map[string]*pod.Pod
}

// Start runs the init containers, and then starts the containers. In between it calls initialized, which may change the
// Pod's annotations. An init container that fails ends the test.
func (n *Node) Start(t testing.TB, p *corev1.Pod, initialized func()) *Pod {
	t.Helper()
	volumes := n.makeVolumes(t, p)
	for _, c := range p.Spec.InitContainers {
		result := pod.Run(t, n.containerSpec(t, p, c, volumes))
		if result.ExitCode != 0 {
			t.Fatalf("node: init container %s: exit code %d\n%s%s", c.Name, result.ExitCode, result.Stdout, result.Stderr)
		}
	}
	initialized()
	updateDownward(t, p, volumes)
	running := &Pod{t: t, pod: p, containers: map[string]*pod.Pod{}}
	for _, c := range p.Spec.Containers {
		running.containers[c.Name] = pod.Start(t, n.containerSpec(t, p, c, volumes))
	}
	return running
}

// Container is a container that runs, or has run.
func (p *Pod) Container(name string) *pod.Pod { return p.containers[name] }

// Wait waits for all containers to end, and writes the Pod's status.
func (p *Pod) Wait() map[string]pod.Result {
	p.t.Helper()
	results := map[string]pod.Result{}
	p.pod.Status.Phase = corev1.PodSucceeded
	for _, c := range p.pod.Spec.Containers {
		result := p.containers[c.Name].Wait()
		results[c.Name] = result
		if result.ExitCode != 0 {
			p.pod.Status.Phase = corev1.PodFailed
		}
		p.pod.Status.ContainerStatuses = append(p.pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: c.Name, Image: c.Image, ImageID: c.Image,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: int32(result.ExitCode),
				Reason:   reason(result),
				Message:  message(result.TerminationLog, len(p.pod.Spec.InitContainers)+len(p.pod.Spec.Containers)),
			}},
		})
	}
	return results
}

func reason(result pod.Result) string {
	switch {
	case result.OOMKilled:
		return "OOMKilled"
	case result.ExitCode != 0:
		return "Error"
	default:
		return "Completed"
	}
}

// message is what kubelet reads of a termination message: in a pod with many containers, each may say less.
func message(log string, containers int) string {
	const (
		perContainer = 4096
		perPod       = 12 * 1024
	)
	return log[:min(len(log), perContainer, perPod/containers)]
}

// containerSpec tells the harness of a container.
func (n *Node) containerSpec(t testing.TB, p *corev1.Pod, c corev1.Container, volumes map[string]volume) pod.Spec {
	t.Helper()
	image, ok := n.Images[c.Image]
	if !ok {
		t.Fatalf("node: container %s: ErrImagePull: %s", c.Name, c.Image)
	}
	if len(c.EnvFrom) > 0 || len(c.VolumeDevices) > 0 || c.Lifecycle != nil || c.StdinOnce || c.Stdin || c.TTY {
		t.Fatalf("node: container %s asks for more than this node has", c.Name)
	}
	shape, err := n.shape(p, c, image)
	if err != nil {
		t.Fatalf("node: container %s: %v", c.Name, err)
	}
	spec := pod.Spec{
		Shape:                  shape,
		Rootfs:                 image.Rootfs,
		Env:                    slices.Clone(image.Env),
		Dir:                    c.WorkingDir,
		HostNetwork:            p.Spec.HostNetwork,
		TerminationMessagePath: c.TerminationMessagePath,
		Memory:                 c.Resources.Limits.Memory().Value(),
	}
	variables := map[string]string{}
	for _, e := range c.Env {
		variables[e.Name] = expand(e.Value, variables)
		if from := e.ValueFrom; from != nil {
			if variables[e.Name], err = fieldOf(p, from.FieldRef); err != nil {
				t.Fatalf("node: container %s: variable %s: %v", c.Name, e.Name, err)
			}
		}
		spec.Env = append(spec.Env, e.Name+"="+variables[e.Name])
	}
	for _, arg := range append(slices.Clone(c.Command), c.Args...) {
		spec.Args = append(spec.Args, expand(arg, variables))
	}
	for _, mount := range c.VolumeMounts {
		v, err := mountOf(mount, volumes)
		if err != nil {
			t.Fatalf("node: container %s: %v", c.Name, err)
		}
		spec.Volumes = append(spec.Volumes, v)
	}
	return spec
}
