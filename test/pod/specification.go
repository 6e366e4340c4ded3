package pod

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// bestEffort is the oom_score_adj that kubelet gives to a pod without resource requests.
const bestEffort = 1000

// specification makes config.json: containerd's default one, with the options that containerd's CRI
// plugin applies for a pod.
func (c *container) specification(spec *Spec, mounts []specs.Mount) (*specs.Spec, error) {
	opts := []oci.SpecOpts{
		oci.WithoutRunMount,
		oci.WithRootFSPath(c.rootfs()),
		oci.WithProcessArgs(spec.Args...),
		oci.WithProcessCwd(cmp.Or(spec.Dir, "/")),
		oci.WithHostname(podName),
		oci.WithEnv(environment(spec.Env)),
		oci.WithMounts(mounts),
		oci.WithCgroup(c.cgroup.path),
	}
	if c.cgroup.unified && !spec.Shape.Privileged {
		opts = append(opts, oci.WithNamespacedCgroup())
	}
	if spec.HostNetwork {
		opts = append(opts, oci.WithHostNamespace(specs.NetworkNamespace))
	}
	if spec.Memory > 0 {
		opts = append(opts, oci.WithMemoryLimit(uint64(spec.Memory)))
	}
	opts = append(opts, spec.Shape.options()...)
	ctx := namespaces.WithNamespace(context.Background(), "k8s.io")
	config, err := oci.GenerateSpec(ctx, nil, &containers.Container{ID: c.id}, opts...)
	if err != nil {
		return nil, err
	}
	score := bestEffort
	config.Process.OOMScoreAdj = &score
	// As containerd sorts them: a mount must not hide another one.
	slices.SortStableFunc(config.Mounts, func(a, b specs.Mount) int {
		return cmp.Compare(depth(a.Destination), depth(b.Destination))
	})
	return config, nil
}

func depth(destination string) int { return strings.Count(path.Clean(destination), "/") }

// write stores the specification where runc looks for it.
func (c *container) write(config *specs.Spec) error {
	data, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(c.dir, "config.json"), data, 0o644)
}

// makeMountPoints makes what runc would make in the root filesystem, so that it is not taken
// for a change by the container.
func (c *container) makeMountPoints(config *specs.Spec, shift int) error {
	for _, m := range config.Mounts {
		source, err := os.Stat(m.Source)
		isFile := m.Type == "bind" && err == nil && !source.IsDir()
		place := m.Destination
		if isFile {
			place = path.Dir(place)
		}
		if err := c.makeDirectory(place, shift); err != nil {
			return err
		}
		if isFile {
			if err := c.makeFile(m.Destination, shift); err != nil {
				return err
			}
		}
	}
	return c.makeDirectory(config.Process.Cwd, shift)
}

// makeDirectory makes a directory of the container and its parents, unless they are there.
func (c *container) makeDirectory(name string, shift int) error {
	if underMount(name) {
		return nil
	}
	place, err := securejoin.SecureJoin(c.rootfs(), name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(place); err == nil {
		return nil
	}
	if err := c.makeDirectory(path.Dir(path.Clean(name)), shift); err != nil {
		return err
	}
	if err := os.Mkdir(place, 0o755); err != nil {
		return err
	}
	return os.Chown(place, shift, shift)
}

func (c *container) makeFile(name string, shift int) error {
	if underMount(name) {
		return nil
	}
	place, err := securejoin.SecureJoin(c.rootfs(), name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(place, os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Lchown(place, shift, shift)
}

// underMount reports whether a path lies below one that is not the root filesystem's.
func underMount(name string) bool {
	return slices.ContainsFunc([]string{"/dev/", "/proc/", "/sys/"}, func(dir string) bool {
		return strings.HasPrefix(name, dir)
	})
}
