package pod

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// podName is the name of each pod, and the host name in it.
const podName = "build-pod"

const (
	// terminationLog is the name, on the node, of the file for the termination message.
	terminationLog = "termination-log"
	// terminationPath is where the container sees it by default.
	terminationPath = "/dev/termination-log"
)

// environment is what the runtime and kubelet add to a container's own environment, and that.
func environment(own []string) []string {
	const service = "10.96.0.1"
	return append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOSTNAME=" + podName,
		"KUBERNETES_SERVICE_HOST=" + service,
		"KUBERNETES_SERVICE_PORT=443",
		"KUBERNETES_SERVICE_PORT_HTTPS=443",
		"KUBERNETES_PORT=tcp://" + service + ":443",
		"KUBERNETES_PORT_443_TCP=tcp://" + service + ":443",
		"KUBERNETES_PORT_443_TCP_PROTO=tcp",
		"KUBERNETES_PORT_443_TCP_PORT=443",
		"KUBERNETES_PORT_443_TCP_ADDR=" + service,
	}, own...)
}

// nodeFiles makes the files that kubelet and containerd bind into each container.
func (m *mounter) nodeFiles(dir string, spec *Spec) ([]specs.Mount, error) {
	if err := m.directory(dir, 0o755); err != nil {
		return nil, err
	}
	var mounts []specs.Mount
	seen := filepath.Join(m.dir, "files-seen")
	for _, f := range []struct {
		name, content, place string
		mode                 os.FileMode
		follow               bool // read-only when the root is
	}{
		{"hostname", podName + "\n", "/etc/hostname", 0o644, true},
		{"resolv.conf", "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n", "/etc/resolv.conf", 0o644, true},
		{"etc-hosts", "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n10.244.0.7\t" + podName + "\n", "/etc/hosts", 0o644, false},
		{terminationLog, "", cmp.Or(spec.TerminationMessagePath, terminationPath), 0o666, false},
	} {
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, []byte(f.content), f.mode); err != nil {
			return nil, err
		}
		if err := os.Chmod(path, f.mode); err != nil {
			return nil, err
		}
		mounts = append(mounts, bound(filepath.Join(seen, f.name), f.place, f.follow && spec.Shape.ReadOnlyRoot))
	}
	return mounts, m.bind(dir, seen)
}

// serviceAccount makes the volume with a pod's token, as kubelet writes it: a directory with a time
// for a name, behind links, so that all files can be replaced at once.
func (m *mounter) serviceAccount(token string) (specs.Mount, error) {
	source, seen := filepath.Join(m.dir, "account"), filepath.Join(m.dir, "account-seen")
	if err := m.tmpfs(source, "mode=1777,size=1m"); err != nil {
		return specs.Mount{}, err
	}
	const version, data = "..2026_01_01_00_00_00.1234567890", "..data"
	err := errors.Join(
		m.directory(filepath.Join(source, version), 0o755),
		os.Symlink(version, filepath.Join(source, data)),
	)
	for name, content := range map[string]string{"token": token, "ca.crt": "not a certificate\n", "namespace": "default"} {
		err = errors.Join(err,
			os.WriteFile(filepath.Join(source, version, name), []byte(content), 0o644),
			os.Symlink(filepath.Join(data, name), filepath.Join(source, name)),
		)
	}
	if err != nil {
		return specs.Mount{}, err
	}
	return bound(seen, "/var/run/secrets/kubernetes.io/serviceaccount", true), m.bind(source, seen)
}
