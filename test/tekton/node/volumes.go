package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-build/slipway/test/pod"
)

// memory is how many bytes a volume in memory may hold.
const memory = 64 << 20

// volume is a Pod's volume on the node.
type volume struct {
	dir      string
	memory   bool
	readOnly bool
	downward *corev1.DownwardAPIVolumeSource
}

// makeVolumes makes the volumes of a Pod, by name.
func (n *Node) makeVolumes(t testing.TB, p *corev1.Pod) map[string]volume {
	t.Helper()
	volumes := map[string]volume{}
	for _, v := range p.Spec.Volumes {
		made, err := n.makeVolume(t, v)
		if err != nil {
			t.Fatalf("node: volume %s: %v", v.Name, err)
		}
		volumes[v.Name] = made
	}
	updateDownward(t, p, volumes)
	return volumes
}

func (n *Node) makeVolume(t testing.TB, v corev1.Volume) (volume, error) {
	switch {
	case v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory:
		return volume{memory: true}, nil
	case v.EmptyDir != nil:
		return volume{dir: pod.EmptyDir(t)}, nil
	case v.PersistentVolumeClaim != nil:
		dir, ok := n.Claims[v.PersistentVolumeClaim.ClaimName]
		if !ok {
			return volume{}, fmt.Errorf("there is no claim %s", v.PersistentVolumeClaim.ClaimName)
		}
		return volume{dir: dir, readOnly: v.PersistentVolumeClaim.ReadOnly}, nil
	case v.Secret != nil && len(v.Secret.Items) == 0:
		return filesOf(t, "Secret", v.Secret.SecretName, n.Secrets)
	case v.ConfigMap != nil && len(v.ConfigMap.Items) == 0:
		return filesOf(t, "ConfigMap", v.ConfigMap.Name, n.ConfigMaps)
	case v.DownwardAPI != nil:
		return volume{dir: pod.EmptyDir(t), readOnly: true, downward: v.DownwardAPI}, nil
	}
	return volume{}, errors.New("this node does not know the kind of volume")
}

// filesOf makes a volume of a Secret or a ConfigMap as kubelet writes it: a directory with a time for a name,
// behind links, so that all files can be replaced at once.
func filesOf(t testing.TB, kind, name string, all map[string]map[string]string) (volume, error) {
	files, ok := all[name]
	if !ok {
		return volume{}, fmt.Errorf("there is no %s %s", kind, name)
	}
	const version, data = "..2026_01_01_00_00_00.1234567890", "..data"
	dir := pod.EmptyDir(t)
	err := errors.Join(os.Mkdir(filepath.Join(dir, version), 0o755), os.Symlink(version, filepath.Join(dir, data)))
	for file, content := range files {
		err = errors.Join(err,
			os.WriteFile(filepath.Join(dir, version, file), []byte(content), 0o644),
			os.Symlink(filepath.Join(data, file), filepath.Join(dir, file)),
		)
	}
	return volume{dir: dir, readOnly: true}, err
}

// updateDownward writes what the Pod says of itself to its volumes for that.
func updateDownward(t testing.TB, p *corev1.Pod, volumes map[string]volume) {
	t.Helper()
	for _, v := range volumes {
		if v.downward == nil {
			continue
		}
		for _, item := range v.downward.Items {
			value, err := fieldOf(p, item.FieldRef)
			if err != nil {
				t.Fatalf("node: %v", err)
			}
			if err := os.WriteFile(filepath.Join(v.dir, item.Path), []byte(value), 0o644); err != nil {
				t.Fatalf("node: %v", err)
			}
		}
	}
}

// fieldOf knows the fields metadata.annotations['KEY'] and metadata.labels['KEY'].
func fieldOf(p *corev1.Pod, field *corev1.ObjectFieldSelector) (string, error) {
	if field == nil {
		return "", errors.New("this node knows only fields of the Pod")
	}
	for prefix, values := range map[string]map[string]string{"metadata.annotations['": p.Annotations, "metadata.labels['": p.Labels} {
		if key, found := strings.CutPrefix(field.FieldPath, prefix); found {
			return values[strings.TrimSuffix(key, "']")], nil
		}
	}
	return "", fmt.Errorf("this node does not know the field %s", field.FieldPath)
}

// mountOf is a volume at its place in a container.
func mountOf(mount corev1.VolumeMount, volumes map[string]volume) (pod.Volume, error) {
	v, ok := volumes[mount.Name]
	if !ok {
		return pod.Volume{}, fmt.Errorf("there is no volume %s", mount.Name)
	}
	if mount.SubPathExpr != "" || mount.MountPropagation != nil {
		return pod.Volume{}, fmt.Errorf("the mount of volume %s asks for more than this node has", mount.Name)
	}
	if v.memory {
		return pod.Volume{Path: mount.MountPath, Memory: memory}, nil
	}
	return pod.Volume{
		Path:     mount.MountPath,
		Host:     filepath.Join(v.dir, mount.SubPath),
		ReadOnly: mount.ReadOnly || v.readOnly,
	}, nil
}
