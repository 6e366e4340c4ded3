package pod_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/test/pod"
	"github.com/slipway-build/slipway/test/pod/internal/attack"
)

// attacked has an innocent stage that has ended when the attack comes, and one that runs at the same time; and the layers
// of the first are read once more when the attack is over.
const attacked = `
FROM base AS before
COPY probe /probe
RUN --mount=type=secret,id=before,required test -s /run/secrets/before && echo intact >/victim

FROM base AS beside
COPY probe /probe
RUN --mount=type=secret,id=beside,required --mount=type=secret,id=beside,env=BESIDE exec /probe hold 127.0.0.1:7777 /run/secrets/beside
RUN echo held >/held

FROM base AS attacker
COPY probe /probe
COPY --from=before /victim /before
RUN --mount=type=bind,from=before,target=/lower exec /probe attack 127.0.0.1:7777 /lower/victim >/report

FROM before
COPY --from=beside /held /held
COPY --from=attacker /report /report
RUN cat /victim >/seen
`

// The canaries, each of which begins as no other text does.
const (
	ofToken  = "canary-token"
	ofLogin  = "canary-login"
	ofEnv    = "canary-environment"
	ofBefore = "canary-before"
	ofBeside = "canary-beside"
	ofArgs   = "canary-argument"
)

// plant puts the canaries where a pod of a build has them.
func plant(t *testing.T, spec *pod.Spec) {
	t.Helper()
	login, secrets := t.TempDir(), t.TempDir()
	write(t, filepath.Join(login, "config.json"), `{"auths":{"registry.invalid":{"username":"user","password":"`+ofLogin+`"}}}`)
	write(t, filepath.Join(secrets, "before"), ofBefore)
	write(t, filepath.Join(secrets, "beside"), ofBeside)
	spec.Token = ofToken
	spec.Env = append(spec.Env, "DOCKER_CONFIG=/login", `DOCKER_AUTH_CONFIG={"auths":{"other.invalid":{"username":"user","password":"`+ofEnv+`"}}}`)
	spec.Volumes = append(spec.Volumes,
		pod.Volume{Path: "/login", Host: login, ReadOnly: true},
		pod.Volume{Path: "/secret", Host: secrets, ReadOnly: true},
	)
	spec.Timeout = 6 * time.Minute
}

// A hostile RUN reaches nothing of the pod, of the builder and of other RUNs.
func TestAttacks(t *testing.T) {
	needShell(t)
	for _, b := range []backend{{"namespace", pod.Default()}, {"namespace", pod.UserNS()}, {"namespace", pod.Privileged()}, {"sandbox", pod.Restricted()}} {
		t.Run(b.shape.Name+" "+b.name, func(t *testing.T) {
			spec, image := slipwaySpec(t, b.shape, attacked, "--isolation="+b.name, "--build-arg=UNUSED="+ofArgs, "--secret=id=before,src=/secret/before", "--secret=id=beside,src=/secret/beside")
			copyProbe(t, &spec)
			plant(t, &spec)
			result := pod.Run(t, spec)
			if result.ExitCode != 0 {
				t.Fatalf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
			}
			sameAsBefore(t, result)
			made := readImage(t, image)
			for name, want := range map[string]string{"victim": "intact\n", "seen": "intact\n", "held": "held\n"} {
				if got := imageFile(t, made, name); got != want {
					t.Errorf("%s holds %q, want %q", name, got, want)
				}
			}
			report, err := attack.Read(imageFile(t, made, "report"))
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range attack.Names() {
				t.Run(name, func(t *testing.T) {
					if b.name == "namespace" && slices.Contains([]string{"signals", "abstract sockets", again}, name) && !scopes() {
						t.Skip("this kernel has no Landlock with scopes (Linux 6.12), without which they are within reach")
					}
					reached, tried := report[name]
					if !tried {
						t.Error("was not tried")
					}
					for _, what := range reached {
						if !granted(b, name, what) {
							t.Errorf("reached %s", what)
						}
					}
				})
			}
		})
	}
}

// again is the attack that is most of the others once more.
const again = "all again as root of a new user namespace"

// scopes tells whether the kernel can keep signals and connections to abstract sockets in (landlock(7)).
func scopes() bool {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	return errno == 0 && version >= 6
}

// granted tells whether docs/isolation.md says that something is within reach: where parts of the pod's /proc are masked, a RUN in
// namespaces sees the pod's; and what can be written in the sandbox's is of a kernel that it makes for the RUN, and that ends with it.
func granted(b backend, name, what string) bool {
	if name == again {
		name, what, _ = strings.Cut(what, ": ")
	}
	if b.name == "sandbox" {
		return name == "the kernel's files" && strings.HasPrefix(what, "/proc/")
	}
	return !b.shape.Privileged && name == "arguments of other processes"
}

// copyProbe puts the program into the build's context.
func copyProbe(t *testing.T, spec *pod.Spec) {
	t.Helper()
	program, err := os.ReadFile(filepath.Join(shared.probe, "probe"))
	if err != nil {
		t.Fatal(err)
	}
	context := spec.Volumes[slices.IndexFunc(spec.Volumes, func(v pod.Volume) bool { return v.Path == "/context" })].Host
	if err := os.WriteFile(filepath.Join(context, "probe"), program, 0o755); err != nil {
		t.Fatal(err)
	}
}

// Where nothing is in the way, in a privileged container beside the same processes and files, each of the attacks succeeds, and
// those for canaries find the one that they are for: that they find nothing elsewhere means something.
func TestAttacksSucceedWithoutIsolation(t *testing.T) {
	spec := pod.Slipway(t, pod.Privileged())
	plant(t, &spec)
	victim := t.TempDir()
	write(t, filepath.Join(victim, "victim"), "intact\n")
	spec.Volumes = append(spec.Volumes,
		pod.Volume{Path: "/probe", Host: shared.probe, ReadOnly: true},
		pod.Volume{Path: "/lower", Host: victim, ReadOnly: true},
		pod.Volume{Path: "/i", Host: pod.EmptyDir(t)}, pod.Volume{Path: "/u", Host: pod.EmptyDir(t)},
	)
	spec.Rootfs = pod.SlipwayDebugRootfs(t)
	spec.Args = []string{"sh", "-c", "sh -c '/probe/probe hold 127.0.0.1:7777 /secret/beside; : " + ofArgs + "' & exec 5</secret/before; exec /probe/probe attack 127.0.0.1:7777 /lower/victim"}
	result := pod.Run(t, spec)
	if result.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
	}
	report, err := attack.Read(result.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	canaries := map[string][]string{
		"service account token":          {ofToken},
		"registry logins":                {ofLogin},
		"all files":                      {ofToken, ofLogin, ofBefore, ofBeside},
		"secrets of other stages":        {ofBefore, ofBeside},
		"arguments of other processes":   {ofArgs},
		"environment of other processes": {ofEnv},
		"memory by /proc":                {ofEnv, ofBeside},
	}
	for _, name := range attack.Names() {
		reached := strings.Join(report[name], "\n")
		if reached == "" {
			t.Errorf("%s: reached nothing", name)
		}
		for _, canary := range canaries[name] {
			if !strings.Contains(reached, canary) {
				t.Errorf("%s: %s is not found, only\n%s", name, canary, reached)
			}
		}
	}
	if damaged, err := os.ReadFile(filepath.Join(victim, "victim")); err != nil || string(damaged) != "damaged\n" {
		t.Errorf("the victim holds %q: %v", damaged, err)
	}
}

// In place, what docs/isolation.md says to be out of reach there is so, and what it says to be within reach is.
func TestAttacksInPlace(t *testing.T) {
	spec, image := slipwaySpec(t, pod.Baseline(), "FROM base\nCOPY probe /probe\nRUN exec /probe attack '' /sys/victim >/report\n", "--isolation=inplace")
	copyProbe(t, &spec)
	plant(t, &spec)
	result := pod.Run(t, spec)
	if result.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s", result.ExitCode, result.Stderr)
	}
	report, err := attack.Read(imageFile(t, readImage(t, image), "report"))
	if err != nil {
		t.Fatal(err)
	}
	for name, canary := range map[string]string{
		"service account token": ofToken, "registry logins": ofLogin, "secrets of other stages": ofBefore, "signals": "/proc/1",
		"inherited descriptors": "", "environment of other processes": "", "working directories of other processes": "",
		"descriptors of other processes": "", "namespaces of other processes": "", "memory by /proc": "", "memory by process_vm_readv": "", "tracing": "",
		"devices": "", "file handles": "", "mounting": "", "read-only mounts": "",
	} {
		reached := strings.Join(report[name], "\n")
		if !strings.Contains(reached, canary) || (canary == "") != (reached == "") {
			t.Errorf("%s: reached %q, want %q", name, reached, canary)
		}
	}
}

// escaping has links in the base image to directories of the pod, and everything that makes files writes through them.
const escaping = `
FROM base AS linked
RUN ln -s /outside /link && ln -s ../../../../../outside /dots && ln -s /link /chain

FROM linked
WORKDIR /link/workdir
COPY file /dots/copied
COPY --link file /outside/linked
ADD file /chain/../../../../outside/added
RUN --mount=type=tmpfs,target=/link/tmpfs --mount=type=bind,source=file,target=/dots/bound --mount=type=cache,target=/../../outside/cache \
    --mount=type=cache,source=../../../../outside,target=/cache,id=other \
    echo x >/link/written && echo x >/outside/cache/file && echo x >/cache/file && cd /link && echo x >../../../../outside/dots
`

// What writes through links and dots writes in the tree, whatever is at that path in the pod.
func TestPathsStayInTheTree(t *testing.T) {
	needShell(t)
	for _, b := range []backend{{"namespace", pod.Default()}, {"sandbox", pod.Restricted()}} {
		t.Run(b.shape.Name+" "+b.name, func(t *testing.T) {
			outside := pod.EmptyDir(t)
			spec, image := slipwaySpec(t, b.shape, escaping, "--isolation="+b.name)
			spec.Volumes = append(spec.Volumes, pod.Volume{Path: "/outside", Host: outside})
			result := pod.Run(t, spec)
			if result.ExitCode != 0 {
				t.Fatalf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
			}
			sameAsBefore(t, result)
			if names := namesIn(t, outside); len(names) > 0 {
				t.Errorf("the pod's directory has %q", names)
			}
			names := ownNames(t, readImage(t, image))
			for _, want := range []string{"workdir/", "copied", "linked", "added", "written", "dots"} {
				if !slices.Contains(names, "outside/"+want) {
					t.Errorf("the image has no outside/%s, but %q", want, names)
				}
			}
		})
	}
}

// In place, where docs/isolation.md says that the pod's mounts are within reach, the same is found in the pod's directory.
func TestPathsLeaveTheTreeInPlace(t *testing.T) {
	outside := pod.EmptyDir(t)
	spec, _ := slipwaySpec(t, pod.Baseline(), "FROM base\nRUN ln -s /outside /link && echo x >/link/written\n", "--isolation=inplace")
	spec.Volumes = append(spec.Volumes, pod.Volume{Path: "/outside", Host: outside})
	if result := pod.Run(t, spec); result.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s", result.ExitCode, result.Stderr)
	}
	if names := namesIn(t, outside); !slices.Equal(names, []string{"written"}) {
		t.Errorf("the pod's directory has %q", names)
	}
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
