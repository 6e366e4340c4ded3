package realbuilds

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/test/pod"
)

// backend is an isolation and the pod for it.
type backend struct {
	name  string
	shape pod.Shape
}

// backends are those that are compared. The second is the measure.
func backends() []backend {
	return []backend{{"sandbox", pod.Restricted()}, {"namespace", pod.Default()}}
}

// projects are what is built: the directories of testdata, and what has to come out.
func projects() []project {
	return []project{{
		name: "c", based: true,
		check: func(t *testing.T, b *built) { b.wantFile(t, "said", "14") },
	}, {
		name: "go",
		check: func(t *testing.T, b *built) {
			b.wantEntry(t, "app", "0 0755 0:0")
			app := filepath.Join(t.TempDir(), "app")
			if err := os.WriteFile(app, b.files["app"], 0o755); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), app, "a", "b").CombinedOutput()
			if err != nil || string(out) != "c8687a08\n" {
				t.Errorf("the program says %q, %v", out, err)
			}
		},
	}, {
		name: "npm", based: true,
		check: func(t *testing.T, b *built) {
			b.wantFile(t, "said", "00060000 true 1.3.0")
			b.wantFile(t, "app/installed", "0")
			b.wantEntry(t, "app/node_modules/.bin/semver", "2 0777 0:0 -> ../semver/bin/semver.js")
		},
	}, {
		name: "users", based: true,
		check: func(t *testing.T, b *built) {
			b.wantFile(t, "said", "0 staff builder:staff CapEff: 0000000000000400")
			b.wantFile(t, "home/builder/work/me", "uid=1000(builder) gid=1000(builder) groups=1000(builder),50(staff)")
			for name, properties := range map[string]string{
				"home/builder/":            "5 0755 1000:1000",
				"home/builder/.profile":    "0 0644 1000:1000",
				"home/builder/work/":       "5 0750 1000:1000",
				"home/builder/work/me":     "0 0640 1000:1000",
				"home/builder/work/again":  "0 0644 1000:1000",
				"home/builder/work/link":   "2 0777 1000:1000 -> me",
				"home/builder/work/pipe":   "6 0640 1000:1000",
				"etc/shadow":               "0 0640 0:42",
				"usr/local/bin/id-of-root": "0 4755 0:50", "usr/local/bin/id-of-staff": "0 2755 0:50",
				"srv/shared/": "5 3775 0:50", "srv/shared/f": "0 0644 1000:50",
				// cap_net_bind_service+ep, as the kernel writes it.
				"usr/local/bin/serve": `0 0755 0:0 security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"`,
			} {
				b.wantEntry(t, name, properties)
			}
		},
	}}
}

// project is a directory of testdata.
type project struct {
	name  string
	based bool // on one of the bases, whose layer is the image's first
	check func(t *testing.T, b *built)
}

// In a restricted pod, under the sandbox, builds succeed that install packages, compile, change users and set what only root may
// set, and every layer holds the same files, with the same modes, owners and attributes, as one made with namespaces.
func TestRealBuilds(t *testing.T) {
	if testing.Short() {
		t.Skip("-short is given, and this takes minutes")
	}
	m := prepare(t)
	network := networkFlags(t)
	for _, p := range projects() {
		t.Run(p.name, func(t *testing.T) {
			var all [][]string
			for _, b := range backends() {
				image := m.build(t, b, p, network)
				p.check(t, image)
				slices.Sort(image.entries)
				all = append(all, image.entries)
			}
			if d := differences(all[1], all[0]); len(d) > 0 {
				t.Errorf("layers (- %s, + %s):\n%s", backends()[1].name, backends()[0].name, strings.Join(d, "\n"))
			}
		})
	}
}

// build builds a project in a pod, and reads the image.
func (m *machine) build(t testing.TB, b backend, p project, flags []string) *built {
	t.Helper()
	context, err := filepath.Abs(filepath.Join("testdata", p.name))
	if err != nil {
		t.Fatal(err)
	}
	out := pod.EmptyDir(t)
	args := []string{
		"build", "--no-push", "--progress=plain", "--state-dir=/slipway-state", "--oci-layout-path=/workspace/image", "--isolation=" + b.name,
		"--build-context=goroot=/goroot", "--build-context=npm=/npm", "--secret=id=certificates,src=/machine/certificates",
	}
	for name := range bases() {
		args = append(args, "--build-context="+name+"=oci-layout:///bases/"+name)
	}
	spec := pod.Slipway(t, b.shape, append(append(args, flags...), "/context")...)
	spec.Volumes = []pod.Volume{
		{Path: "/slipway-state", Host: m.states[b.name]},
		{Path: "/workspace", Host: out},
		{Path: "/context", Host: context, ReadOnly: true},
		{Path: "/bases", Host: m.bases, ReadOnly: true},
		{Path: "/goroot", Host: m.goroot, ReadOnly: true},
		{Path: "/npm", Host: m.npm, ReadOnly: true},
		{Path: "/machine", Host: m.certificates, ReadOnly: true},
	}
	spec.HostNetwork, spec.DiffRoot, spec.Timeout = true, true, 15*time.Minute
	result := pod.Run(t, spec)
	if result.ExitCode != 0 {
		t.Fatalf("%s: exit code %d\n%s%s", b.name, result.ExitCode, result.Stdout, result.Stderr)
	}
	for _, c := range pod.BesideTrees(result.RootDiff) {
		t.Errorf("%s: the container's root changed: %s", b.name, c)
	}
	layers := 0
	if p.based {
		layers = 1
	}
	return read(t, filepath.Join(out, "image"), layers)
}
