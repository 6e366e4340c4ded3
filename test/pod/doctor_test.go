package pod_test

import (
	"encoding/json"
	"testing"

	"github.com/slipway-build/slipway/pkg/doctor"
	"github.com/slipway-build/slipway/test/pod"
)

// Why a backend does not work.
const (
	works       = ""
	seccompBars = "no namespaces can be made (fork/exec /proc/self/exe: operation not permitted): the container's seccomp profile forbids it; the pod needs seccompProfile.type: Unconfined"
	lacksCaps   = "no namespaces can be made (fork/exec /proc/self/exe: operation not permitted): the container lacks the capabilities SETUID, SETGID, SETFCAP, which mapping users needs (or else SYS_ADMIN)"
	onOwnRoot   = "mounting the root filesystem failed: overlay: invalid argument: the state directory must lie on a volume (emptyDir will do), not on the container's own overlay filesystem"
	notRoot     = "it needs uid 0 (runAsUser: 0), and this is uid 1000"
	dropped     = "the container lacks the capabilities CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, MKNOD, SETFCAP, SYS_CHROOT"
	rootRO      = "the root filesystem is read-only (readOnlyRootFilesystem: true)"
	stateRO     = "making the state directory: mkdir /workspace/state: read-only file system"
	stateDenied = "making the state directory: mkdir /workspace/state: permission denied"
)

// rootWithoutCapabilities is Restricted, but for the user and what only concerns it.
func rootWithoutCapabilities() pod.Shape {
	return pod.Shape{Name: "root without capabilities", DropAll: true}
}

// What "slipway doctor" says of each shape of pod, to the letter, with the state directory on an
// emptyDir or elsewhere.
func TestDoctor(t *testing.T) {
	emptyDir := func(t *testing.T) []pod.Volume { return []pod.Volume{{Path: "/workspace", Host: pod.EmptyDir(t)}} }
	readOnly := func(t *testing.T) []pod.Volume {
		return []pod.Volume{{Path: "/workspace", Host: pod.EmptyDir(t), ReadOnly: true}}
	}
	ofRoot := func(t *testing.T) []pod.Volume { return []pod.Volume{{Path: "/workspace", Host: t.TempDir()}} }
	none := func(*testing.T) []pod.Volume { return nil }
	for _, c := range []struct {
		shape              pod.Shape
		state              string
		volumes            func(*testing.T) []pod.Volume
		namespace, inplace string // why it does not work
	}{
		{pod.Default(), "on a volume", emptyDir, works, works},
		{pod.Default(), "on the own root", none, onOwnRoot, works},
		{pod.Default(), "read-only", readOnly, stateRO, stateRO},
		{pod.UserNS(), "on a volume", emptyDir, works, works},
		{pod.UserNS(), "on the own root", none, onOwnRoot, works},
		{pod.Privileged(), "on a volume", emptyDir, works, works},
		{pod.Privileged(), "on the own root", none, onOwnRoot, works},
		{pod.ReadonlyRoot(), "on a volume", emptyDir, works, rootRO},
		{pod.ReadonlyRoot(), "read-only", readOnly, stateRO, rootRO},
		{pod.Baseline(), "on a volume", emptyDir, seccompBars, works},
		{pod.Baseline(), "on the own root", none, seccompBars, works},
		{pod.Baseline(), "read-only", readOnly, stateRO, stateRO},
		{pod.Restricted(), "on a volume", emptyDir, lacksCaps, notRoot},
		{pod.Restricted(), "on a volume of root", ofRoot, stateDenied, notRoot},
		{rootWithoutCapabilities(), "on a volume", emptyDir, lacksCaps, dropped},
	} {
		t.Run(c.shape.Name+", state "+c.state, func(t *testing.T) {
			t.Parallel()
			spec := pod.Slipway(t, c.shape, "doctor", "--output=json", "--state-dir=/workspace/state")
			spec.Volumes = c.volumes(t)
			res := pod.Run(t, spec)
			want := 77
			sandbox := works // wherever there is a place for the state
			if c.namespace == stateRO || c.namespace == stateDenied {
				sandbox = c.namespace
			}
			if c.namespace == works || c.inplace == works || sandbox == works {
				want = 0
			}
			if res.ExitCode != want {
				t.Errorf("exit code %d, want %d\n%s", res.ExitCode, want, res.Stderr)
			}
			var r doctor.Report
			if err := json.Unmarshal([]byte(res.Stdout), &r); err != nil {
				t.Fatalf("%v in\n%s", err, res.Stdout)
			}
			if r.Works() != (want == 0) {
				t.Errorf("works: %v", r.Works())
			}
			reasons := map[string]string{}
			for _, b := range r.Backends {
				reasons[b.Name] = b.Reason
				if b.Works != (b.Reason == "") {
					t.Errorf("%s works: %v, and the reason why not is %q", b.Name, b.Works, b.Reason)
				}
			}
			for name, want := range map[string]string{"namespace": c.namespace, "inplace": c.inplace, "sandbox": sandbox} {
				if got, listed := reasons[name]; got != want || !listed {
					t.Errorf("%s: the reason is\n%q, want\n%q", name, got, want)
				}
			}
		})
	}
}
