package pod_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/test/pod"
)

// needShell skips a test whose RUN needs more of a shell than the stand-in for busybox has.
func needShell(t *testing.T) {
	t.Helper()
	program, err := testbase.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case program.Name == "busybox":
	case os.Getenv(pod.RequireToolsEnv) != "":
		t.Fatal("a static busybox is not installed")
	default:
		t.Skip("needs a static busybox (package busybox-static)")
	}
}

// backend is an isolation backend in the least of the shapes of pods that it works in.
type backend struct {
	name  string
	shape pod.Shape
}

func backends() []backend {
	return []backend{{"namespace", pod.Default()}, {"inplace", pod.Baseline()}, {"sandbox", pod.Restricted()}}
}

// smallDisk makes the disk small that a RUN of the backend writes to.
func smallDisk(t *testing.T, b backend, s *pod.Spec) {
	t.Helper()
	if b.name != "inplace" {
		smallState(t, b, s)
		return
	}
	// Room for the program, which is moved aside, too.
	program, err := pod.Binary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	s.RootSize = info.Size() + 16<<20
}

// smallState makes the state directory small.
func smallState(_ *testing.T, _ backend, s *pod.Spec) {
	state := slices.IndexFunc(s.Volumes, func(v pod.Volume) bool { return v.Path == "/slipway-state" })
	s.Volumes[state] = pod.Volume{Path: "/slipway-state", Memory: 16 << 20}
}

func smallMemory(_ *testing.T, _ backend, s *pod.Spec) { s.Memory = 128 << 20 }

// harm is a build whose RUN does its worst.
type harm struct {
	name, dockerfile string
	only, except     string // backends; "" for all, and for none
	spec             func(*testing.T, backend, *pod.Spec)

	code    int
	oom     bool
	message string   // what the last lines say of a failure
	log     string   // what is said before
	own     []string // names in the image's new layers
}

func harms() []harm {
	return []harm{
		{
			// Its output stays open, and it has a session of its own. The second RUN tells it to
			// go on, which nobody hears.
			name: "daemon", own: []string{"made"},
			dockerfile: "FROM base\n" +
				"RUN --mount=type=cache,target=/c setsid sh -c 'echo before >/made; touch /c/up; until test -e /c/go; do usleep 1000; done; echo >/late; echo >/c/late' &" +
				" until test -e /c/up; do usleep 1000; done\n" +
				"RUN --mount=type=cache,target=/c touch /c/go; sleep 0.3; test ! -e /c/late && test ! -e /late\n",
		},
		{
			name: "full disk", spec: smallDisk, code: 1,
			dockerfile: "FROM base\n\nRUN dd if=/dev/zero of=/big bs=4k\n",
			log:        "No space left on device", message: `slipway: Dockerfile:3: process "/bin/sh -c dd if=/dev/zero of=/big bs=4k" did not complete successfully: exit code: 1`,
		},
		{
			name: "disk that was full", spec: smallDisk, own: []string{"small"},
			dockerfile: "FROM base\nRUN ! dd if=/dev/zero of=/big bs=4k && rm /big && echo x >/small\nRUN test -s /small\n",
			log:        "No space left on device",
		},
		{
			// What a process has left is copied when another one is to change it.
			name: "no space for the layer", spec: smallState, only: "inplace", code: 1,
			dockerfile: "FROM base\nRUN dd if=/dev/urandom of=/big bs=1M count=20\nRUN echo x >/file\n",
			message:    "slipway: Dockerfile:3: isolation: keeping /big: write /slipway-state/",
			log:        "no space left on device",
		},
		{
			// Of what was written, there is a copy before it is an exported layer.
			name: "no space for the changes", spec: smallState, only: "sandbox", code: 1,
			dockerfile: "FROM base\nRUN dd if=/dev/urandom of=/big bs=1M count=9\n",
			message:    `slipway: Dockerfile:2: isolation: receiving the changes: "big": keeping its content: write /slipway-state/`,
			log:        "no space left on device",
		},
		{
			// The process has written to the state directory, too.
			name: "no space for the exported layer", spec: smallState, only: "namespace", code: 1,
			dockerfile: "FROM base\nRUN dd if=/dev/urandom of=/big bs=1M count=9\n",
			message:    "slipway: writing layer: write /slipway-state/",
			log:        "no space left on device",
		},
		{
			name: "no space for the exported layer", spec: smallState, only: "inplace", code: 1,
			dockerfile: "FROM base\nRUN dd if=/dev/urandom of=/big bs=1M count=20\n",
			message:    "slipway: writing layer: write /slipway-state/",
			log:        "no space left on device",
		},
		{
			name: "out of memory", spec: smallMemory, code: 137, oom: true,
			dockerfile: "FROM base\nRUN exec dd if=/dev/zero of=/dev/null bs=1G count=1\n",
			message:    `slipway: Dockerfile:2: process "/bin/sh -c exec dd if=/dev/zero of=/dev/null bs=1G count=1" was killed: out of memory (exit code: 137)`,
		},
		{
			name: "child out of memory", spec: smallMemory, code: 137, oom: true,
			dockerfile: "FROM base\nRUN dd if=/dev/zero of=/dev/null bs=1G count=1; exit $?\n",
			message:    `slipway: Dockerfile:2: process "/bin/sh -c dd if=/dev/zero of=/dev/null bs=1G count=1; exit $?" was killed: out of memory (exit code: 137)`,
		},
		{
			name: "next RUN without /bin", code: 127,
			dockerfile: "FROM base\nRUN rm -rf /bin\nRUN echo x\n",
			message:    `slipway: Dockerfile:3: process "/bin/sh -c echo x" could not be started: exec: "/bin/sh": no such file or directory (exit code: 127)`,
		},
		{
			name: "image without /bin", own: []string{".wh.bin", "file"},
			dockerfile: "FROM base\nRUN rm -rf /bin\nCOPY file /\n",
		},
		{
			// gVisor moves a directory with all that is in it.
			name: "/etc becomes a link", only: "sandbox", own: []string{"etc", "etc2/", "etc2/group", "etc2/passwd"},
			dockerfile: "FROM base\nRUN mv /etc /etc2 && ln -s etc2 /etc\n",
		},
		{
			// As with docker build: files that a RUN is provided with cannot be moved.
			name: "/etc becomes a link", except: "sandbox", code: 1,
			dockerfile: "FROM base\nRUN mv /etc /etc2 && ln -s etc2 /etc\n",
			log:        "mv: can't remove '/etc/resolv.conf': Device or resource busy",
			message:    `slipway: Dockerfile:2: process "/bin/sh -c mv /etc /etc2 && ln -s etc2 /etc" did not complete successfully: exit code: 1`,
		},
		{
			name: "/usr becomes a link", own: []string{"usr", "usr2/", "usr2/bin/"},
			dockerfile: "FROM base\nRUN mv /usr /usr2 && ln -s usr2 /usr\n",
		},
		{
			name: "/var becomes a link", only: "namespace", own: []string{"var", "var2/", "var2/tmp/"},
			dockerfile: "FROM base\nRUN mv /var /var2 && ln -s var2 /var\n",
		},
		{
			// The token of the pod's service account is mounted deep in it.
			name: "/var becomes a link", only: "inplace", code: 77,
			dockerfile: "FROM base\nRUN mv /var /var2 && ln -s var2 /var\n",
			message:    `slipway: Dockerfile:2: moving /var to /var2 is not possible with isolation "inplace": the pod has something mounted in it`,
		},
	}
}

// What builds whose RUN does its worst end with, in each backend: the exit code, a message with the
// Dockerfile's line, no image, and the container's own root as before.
func TestHarm(t *testing.T) {
	needShell(t)
	for _, h := range harms() {
		for _, b := range backends() {
			if h.only != "" && h.only != b.name || h.except == b.name {
				continue
			}
			t.Run(h.name+" "+b.name, func(t *testing.T) {
				t.Parallel()
				spec, image := slipwaySpec(t, b.shape, h.dockerfile, "--isolation="+b.name)
				if h.spec != nil {
					h.spec(t, b, &spec)
				}
				h.check(t, pod.Run(t, spec), image)
			})
		}
	}
}

func (h *harm) check(t *testing.T, result pod.Result, image string) {
	t.Helper()
	if result.ExitCode != h.code || result.OOMKilled != h.oom {
		t.Errorf("exit code %d, killed for memory %v, want %d, %v", result.ExitCode, result.OOMKilled, h.code, h.oom)
	}
	log, message := result.Stderr, ""
	if i := strings.LastIndex(log, "\nslipway: "); i >= 0 {
		log, message = log[:i+1], log[i+1:]
	}
	if !strings.HasPrefix(message, h.message) || (h.message == "") != (message == "") {
		t.Errorf("the message is\n%s\nwant\n%s", message, h.message)
	}
	if !strings.Contains(log, h.log) {
		t.Errorf("the log does not say %q", h.log)
	}
	sameAsBefore(t, result)
	switch {
	case h.code != 0:
		noImage(t, image)
	case result.ExitCode == 0:
		if names := ownNames(t, readImage(t, image)); !slices.Equal(names, h.own) {
			t.Errorf("the new layers have %q, want %q", names, h.own)
		}
	}
	if t.Failed() {
		t.Logf("the log:\n%s", result.Stderr)
	}
}

// A build in a pod where an earlier one has filled the disk fails before it exchanges anything.
func TestFullRoot(t *testing.T) {
	spec, image := slipwaySpec(t, pod.Baseline(), "FROM base\nRUN echo x\n", "--isolation=inplace")
	spec.RootSize = 8 << 20
	result := pod.Run(t, spec)
	if result.ExitCode != 1 || !strings.Contains(result.Stderr, "slipway: Dockerfile:2: ") || !strings.Contains(result.Stderr, "no space left on device") {
		t.Errorf("exit code %d\n%s", result.ExitCode, result.Stderr)
	}
	sameAsBefore(t, result)
	noImage(t, image)
}
