package pod_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/test/pod"
	"github.com/slipway-build/slipway/test/pod/internal/probe"
)

const (
	defaultCaps = "00000000a80425fb" // containerd's default set
	noCaps      = "0000000000000000"
	eperm       = "EPERM"
	eacces      = "EACCES"
	erofs       = "EROFS"
	exdev       = "EXDEV"
)

// spec is a pod with a small root filesystem, the probe in /probe and a volume in /work.
func spec(t *testing.T, shape pod.Shape, args ...string) pod.Spec {
	t.Helper()
	rootfs := t.TempDir()
	write(t, filepath.Join(rootfs, "image/changed"), "before")
	write(t, filepath.Join(rootfs, "image/mode"), "")
	write(t, filepath.Join(rootfs, "image/removed"), "")
	write(t, filepath.Join(rootfs, "image/same"), "")
	return pod.Spec{
		Shape: shape, Rootfs: rootfs, Args: append([]string{"/probe/probe"}, args...),
		Volumes: []pod.Volume{
			{Path: "/probe", Host: shared.probe, ReadOnly: true},
			{Path: "/work", Host: pod.EmptyDir(t)},
		},
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// look runs the probe in a pod.
func look(t *testing.T, s pod.Spec) *probe.Report {
	t.Helper()
	result := pod.Run(t, s)
	if result.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
	}
	report, err := probe.Read(result.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// What a process may do in a pod, by shape. This table is what the choice of isolation
// backends rests on.
func TestCalls(t *testing.T) {
	shapes := []pod.Shape{pod.Default(), pod.Baseline(), pod.UserNS(), pod.Restricted(), pod.ReadonlyRoot(), pod.Privileged()}
	const ok = probe.OK
	// In the order of shapes.
	want := map[string][]string{
		//                  default  baseline userns  restricted readonly privileged
		probe.Unshare:       {ok, eperm, ok, eperm, ok, ok},
		probe.Clone:         {ok, eperm, ok, eperm, ok, ok},
		probe.NestedTmpfs:   {ok, eperm, ok, eperm, ok, ok},
		probe.NestedOverlay: {ok, eperm, ok, eperm, ok, ok},
		probe.NestedBind:    {ok, eperm, ok, eperm, ok, ok},
		probe.MountTmpfs:    {eperm, eperm, eperm, eperm, eperm, ok},
		probe.Chroot:        {ok, ok, ok, eperm, ok, ok},
		probe.Mknod:         {ok, ok, eperm, eperm, ok, ok},
		probe.Chown:         {ok, ok, ok, eperm, ok, ok},
		probe.Setuid:        {ok, ok, ok, eperm, ok, ok},
		probe.Setgroups:     {ok, ok, ok, eperm, ok, ok},
		probe.FileCaps:      {ok, ok, ok, eperm, ok, ok},
		probe.Sethostname:   {eperm, eperm, eperm, eperm, eperm, ok},
		probe.AddKey:        {ok, eperm, ok, eperm, ok, ok},
		probe.WriteRoot:     {ok, ok, ok, eacces, erofs, ok},
		probe.RenameImage:   {exdev, exdev, exdev, eacces, erofs, exdev},
		probe.RenameOwn:     {ok, ok, ok, eacces, erofs, ok},
		probe.RenameToRoot:  {ok, ok, ok, eacces, erofs, ok},
		probe.WriteProcSys:  {erofs, erofs, eacces, eacces, erofs, ok},
		probe.WriteSys:      {erofs, erofs, erofs, erofs, erofs, ok},
		probe.OpenNull:      {ok, ok, ok, ok, ok, ok},
		probe.RemountBind:   {eperm, eperm, eperm, eperm, eperm, ok},
	}
	for i, shape := range shapes {
		t.Run(shape.Name, func(t *testing.T) {
			report := look(t, spec(t, shape, "look", "/work"))
			for name, outcome := range report.Calls {
				if _, known := want[name]; !known {
					t.Errorf("%s: %s, but the table has no such call", name, outcome)
				}
			}
			for name, outcomes := range want {
				if report.Calls[name] != outcomes[i] {
					t.Errorf("%s: %s, want %s", name, report.Calls[name], outcomes[i])
				}
			}
		})
	}
}

// RuntimeDefault forbids namespaces and mounts unless the container has CAP_SYS_ADMIN, which a
// user namespace makes harmless.
func TestCallsWithSysAdmin(t *testing.T) {
	for _, test := range []struct {
		capabilities []string
		want         string
	}{
		{nil, eperm},
		{[]string{"CAP_SYS_ADMIN"}, probe.OK},
	} {
		t.Run(test.want, func(t *testing.T) {
			shape := pod.UserNS()
			shape.RuntimeDefault = true
			shape.AddCapabilities = test.capabilities
			report := look(t, spec(t, shape, "look", "/work"))
			for _, name := range []string{probe.Unshare, probe.Clone, probe.NestedOverlay, probe.MountTmpfs, probe.Sethostname} {
				if report.Calls[name] != test.want {
					t.Errorf("%s: %s, want %s", name, report.Calls[name], test.want)
				}
			}
		})
	}
}

// Who the process is.
func TestIdentity(t *testing.T) {
	host, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(host), "CapPrm:")
	allCaps := strings.Fields(rest)[0]
	for _, test := range []struct {
		shape              pod.Shape
		caps               string
		seccomp, noNewPriv string
		uid                int
		uidMap             string
	}{
		{pod.Default(), defaultCaps, "0", "0", 0, "0 0 4294967295"},
		{pod.Baseline(), defaultCaps, "2", "0", 0, "0 0 4294967295"},
		{pod.UserNS(), defaultCaps, "0", "0", 0, "0 131072 65536"},
		{pod.Restricted(), noCaps, "2", "1", 1000, "0 0 4294967295"},
		{pod.ReadonlyRoot(), defaultCaps, "0", "0", 0, "0 0 4294967295"},
		{pod.Privileged(), allCaps, "0", "0", 0, "0 0 4294967295"},
	} {
		t.Run(test.shape.Name, func(t *testing.T) {
			report := look(t, spec(t, test.shape, "look", "/work"))
			for name, want := range map[string]string{
				"CapPrm": test.caps, "CapEff": test.caps, "CapBnd": test.caps, "CapInh": noCaps, "CapAmb": noCaps,
				"Seccomp": test.seccomp, "NoNewPrivs": test.noNewPriv, "Pid": "1",
			} {
				if report.Status[name] != want {
					t.Errorf("%s is %s, want %s", name, report.Status[name], want)
				}
			}
			if report.UID != test.uid || report.GID != test.uid || !slices.Equal(report.Groups, []int{test.uid}) {
				t.Errorf("ids are %d:%d %d, want %d", report.UID, report.GID, report.Groups, test.uid)
			}
			if report.UIDMap != test.uidMap {
				t.Errorf("the map of ids is %q, want %q", report.UIDMap, test.uidMap)
			}
		})
	}
}

// What the process finds in its files, its environment and its mounts.
func TestSurroundings(t *testing.T) {
	const token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	for _, shape := range pod.Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			s := spec(t, shape, "look", "/work", "/etc/hostname", "/etc/resolv.conf", "/etc/hosts", token, "/dev/termination-log", "/proc/keys")
			s.Env = []string{"OWN=value", "PATH=/own"}
			s.Dir = "/image"
			report := look(t, s)
			for name, want := range map[string]string{
				"/etc/hostname": "build-pod\n", "/etc/resolv.conf": "ndots:5\n", "/etc/hosts": "\tbuild-pod\n",
				token: "not-a-token", "/dev/termination-log": "",
			} {
				if !strings.HasSuffix(report.Files[name], want) || want == "" && report.Files[name] != "" {
					t.Errorf("%s: %q, want %q at the end", name, report.Files[name], want)
				}
			}
			if masked := report.Files["/proc/keys"] == ""; masked == shape.Privileged {
				t.Errorf("/proc/keys: %q", report.Files["/proc/keys"])
			}
			if report.Hostname != "build-pod" || report.Cwd != "/image" {
				t.Errorf("host name %q, working directory %q", report.Hostname, report.Cwd)
			}
			for _, want := range []string{"OWN=value", "PATH=/own", "HOSTNAME=build-pod", "KUBERNETES_SERVICE_HOST=10.96.0.1"} {
				if !slices.Contains(report.Env, want) {
					t.Errorf("%s is not in the environment %q", want, report.Env)
				}
			}
			checkMounts(t, shape, report)
		})
	}
}

func checkMounts(t *testing.T, shape pod.Shape, report *probe.Report) {
	t.Helper()
	type seen struct{ fstype, access string }
	mounts := map[string]seen{}
	for _, m := range report.Mounts {
		access, _, _ := strings.Cut(m.Options, ",")
		mounts[m.Mountpoint] = seen{m.FSType, access}
	}
	readOnly := func(is bool) string {
		if is {
			return "ro"
		}
		return "rw"
	}
	want := map[string]seen{
		"/":                    {"overlay", readOnly(shape.ReadOnlyRoot)},
		"/proc":                {"proc", "rw"},
		"/dev":                 {"tmpfs", "rw"},
		"/dev/pts":             {"devpts", "rw"},
		"/dev/shm":             {"tmpfs", "rw"},
		"/dev/mqueue":          {"mqueue", "rw"},
		"/sys":                 {"sysfs", readOnly(!shape.Privileged)},
		"/etc/hosts":           {mounts["/work"].fstype, "rw"},
		"/etc/hostname":        {mounts["/work"].fstype, readOnly(shape.ReadOnlyRoot)},
		"/etc/resolv.conf":     {mounts["/work"].fstype, readOnly(shape.ReadOnlyRoot)},
		"/dev/termination-log": {mounts["/work"].fstype, "rw"},
		"/var/run/secrets/kubernetes.io/serviceaccount": {"tmpfs", "ro"},
		"/probe": {mounts["/probe"].fstype, "ro"},
		"/work":  {mounts["/work"].fstype, "rw"},
	}
	if !shape.Privileged {
		// The mask of a file: /dev/null, which a user namespace has from the node.
		null := seen{"tmpfs", "rw"}
		if shape.UserNamespace {
			null = mounts["/dev/null"]
		}
		for place, w := range map[string]seen{
			"/proc/sys": {"proc", "ro"}, "/proc/irq": {"proc", "ro"}, "/proc/sysrq-trigger": {"proc", "ro"},
			"/proc/keys": null, "/proc/kcore": null, "/sys/firmware": {"tmpfs", "ro"},
		} {
			// What the machine lacks is not masked.
			if _, err := os.Stat(place); err == nil {
				want[place] = w
			}
		}
	}
	for place, w := range want {
		if mounts[place] != w {
			t.Errorf("%s is %v, want %v", place, mounts[place], w)
		}
	}
	for place := range mounts {
		if place == "/run" {
			t.Error("/run is a mount, which Kubernetes does not make")
		}
	}
}

// Files on a volume belong to the same ids for the node and for the container, also with
// a user namespace; the container's own root is owned by the namespace's root.
func TestVolumeOwners(t *testing.T) {
	for _, shape := range pod.Shapes() {
		t.Run(shape.Name, func(t *testing.T) {
			s := spec(t, shape, "spoil")
			if shape.UID != 0 || shape.ReadOnlyRoot {
				s.Args = []string{"/probe/probe", "write", "/work/on-volume"}
			}
			if result := pod.Run(t, s); result.ExitCode != 0 {
				t.Fatalf("exit code %d\n%s", result.ExitCode, result.Stderr)
			}
			info, err := os.Stat(filepath.Join(s.Volumes[1].Host, "on-volume"))
			if err != nil {
				t.Fatal(err)
			}
			if stat := info.Sys().(*syscall.Stat_t); stat.Uid != shape.UID || stat.Gid != shape.UID {
				t.Errorf("the file on the volume belongs to %d:%d, want %d", stat.Uid, stat.Gid, shape.UID)
			}
		})
	}
}

// The difference of the root filesystem names what the container did, and only that.
func TestRootDiff(t *testing.T) {
	for _, shape := range []pod.Shape{pod.Default(), pod.UserNS(), pod.Privileged()} {
		t.Run(shape.Name, func(t *testing.T) {
			s := spec(t, shape, "spoil")
			s.DiffRoot = true
			result := pod.Run(t, s)
			if result.ExitCode != 0 {
				t.Fatalf("exit code %d\n%s", result.ExitCode, result.Stderr)
			}
			var got []string
			for _, c := range result.RootDiff {
				// Without the values.
				what, _, _ := strings.Cut(c.String(), " was ")
				got = append(got, what)
			}
			want := []string{
				"image: modification time", "image/added: added", "image/changed: modification time",
				"image/mode: mode", "image/removed: removed",
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			if result.TerminationLog != "spoiled" {
				t.Errorf("the termination message is %q", result.TerminationLog)
			}
		})
	}
}

// A container that does nothing leaves no trace, and pods do not disturb each other.
func TestRootAsBefore(t *testing.T) {
	for _, shape := range []pod.Shape{pod.Baseline(), pod.UserNS(), pod.Restricted(), pod.ReadonlyRoot()} {
		t.Run(shape.Name, func(t *testing.T) {
			t.Parallel()
			s := spec(t, shape, "wait")
			s.DiffRoot = true
			p := pod.Start(t, s)
			p.Expect("waiting")
			p.Signal(syscall.SIGTERM)
			if result := p.Wait(); result.ExitCode != 3 || len(result.RootDiff) > 0 {
				t.Errorf("exit code %d, changes %v, %s", result.ExitCode, result.RootDiff, result.Stderr)
			}
		})
	}
}

func TestExitOnKill(t *testing.T) {
	p := pod.Start(t, spec(t, pod.Default(), "wait"))
	p.Expect("waiting")
	p.Signal(syscall.SIGKILL)
	if result := p.Wait(); result.ExitCode != 128+int(syscall.SIGKILL) {
		t.Errorf("exit code %d", result.ExitCode)
	}
}

func TestMemory(t *testing.T) {
	for _, test := range []struct {
		name string
		use  int
		oom  bool
		code int
	}{
		{"enough", 16 << 20, false, 0},
		{"too little", 128 << 20, true, 137},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := spec(t, pod.Default(), "hog", strconv.Itoa(test.use))
			s.Memory = 64 << 20
			result := pod.Run(t, s)
			if result.OOMKilled != test.oom || result.ExitCode != test.code {
				t.Errorf("exit code %d, killed for memory %v, want %d, %v\n%s", result.ExitCode, result.OOMKilled, test.code, test.oom, result.Stderr)
			}
		})
	}
}

// Standard input reaches the container, and a full volume is full.
func TestMemoryVolume(t *testing.T) {
	s := spec(t, pod.Default(), "write", "/memory/file")
	s.Volumes = append(s.Volumes, pod.Volume{Path: "/memory", Memory: 1 << 20})
	s.Stdin = strings.NewReader(strings.Repeat("x", 2<<20))
	result := pod.Run(t, s)
	if result.ExitCode != 1 || !strings.Contains(result.Stderr, "no space left on device") {
		t.Errorf("exit code %d: %s", result.ExitCode, result.Stderr)
	}
}
