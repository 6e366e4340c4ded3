package pod_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/pkg/build/buildtest"
	"github.com/slipway-build/slipway/test/pod"
)

// digestAll is a program that writes a digest of everything that a RUN can see but for times, for volumes of
// the pod, for what the isolation inplace has put aside, and for what the kernel shows.
const digestAll = `#!/bin/sh
see() { find / \( -path /proc -o -path /sys -o -path /dev -o -path /slipway-state -o -path /differential -o -path /.slipway \) -prune -o "$@" | sort | tr '\n' '\0'; }
all() {
	echo "$@"; pwd; id; env | sort
	see -print | xargs -0 stat -c '%a %u %g %N'
	see -type f -print | xargs -0 sha256sum
}
sum=$(all "$@" 2>&1 | sha256sum) # before the file is there
echo "$sum" >"$1"
`

// differential builds programs in one pod.
type differential struct {
	shell       *pod.Shell
	flags       []string
	work, state string // differentialWork and /slipway-state on this machine
}

// newMachine empties the state directory. Its path stays, which a RUN in place sees in the links to cache mounts.
func (d *differential) newMachine(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(d.state)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(d.state, e.Name())))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Where the pod has the files of the builds.
const differentialWork = "/differential"

func newDifferential(t *testing.T, b backend) *differential {
	t.Helper()
	d := &differential{work: pod.EmptyDir(t), state: pod.EmptyDir(t), flags: []string{"--isolation=" + b.name}}
	spec := pod.Slipway(t, b.shape)
	spec.Volumes = []pod.Volume{{Path: "/slipway-state", Host: d.state}}
	spec.Timeout = 10 * time.Minute
	d.shell = pod.StartShell(t, spec, pod.Volume{Path: differentialWork, Host: d.work})
	for i := range 2 {
		writeBasis(t, filepath.Join(d.work, fmt.Sprint("base", i)), i)
	}
	return d
}

// writeBasis writes a base image with the programs of buildtest.Program, in which any user may write to the root.
func writeBasis(t *testing.T, dir string, number int) {
	t.Helper()
	program, err := testbase.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	image, err := program.Image()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o777})
	for name, content := range map[string]string{"bin/note": digestAll, "bin/drop": "#!/bin/sh\nrm -f \"$1\"\n", "base": fmt.Sprint(number)} {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))}))
		_, writing := io.WriteString(w, content)
		err = errors.Join(err, writing)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	top, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.AppendLayers(image, top); err != nil {
		t.Fatal(err)
	}
	if err := writeLayout(dir, image); err != nil {
		t.Fatal(err)
	}
}

func (d *differential) build(t *testing.T, p *buildtest.Program, i int, cached bool) (*buildtest.Outcome, error) {
	t.Helper()
	name := fmt.Sprintf("build-%d-%v", i, cached)
	host := filepath.Join(d.work, name)
	p.Write(t, filepath.Join(host, "context"))
	// The image is written there, and in a restricted pod not by root.
	if err := errors.Join(os.WriteFile(filepath.Join(host, "Dockerfile"), []byte(p.Dockerfile()), 0o644), os.Chmod(host, 0o777)); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"slipway", "build", "--no-push", "--progress=plain", "--state-dir=/slipway-state", "--source-date-epoch=1", "--file=" + filepath.Join(differentialWork, name, "Dockerfile"),
		"--target=" + p.Target(), fmt.Sprintf("--build-context=basis=oci-layout://%s/base%d", differentialWork, p.Base),
		"--oci-layout-path=image", "--output=type=tar,dest=tree.tar",
	}
	for name, value := range p.Args {
		args = append(args, "--build-arg="+name+"="+value)
	}
	if cached {
		if i%10 == 0 {
			d.newMachine(t)
		}
		args = append(args, "--cache", "--cache-repo="+differentialWork+"/cache")
	}
	code, log := d.shell.Run(t, name, nil, time.Minute, slices.Concat(args, d.flags, []string{"context"})...)
	if code != 0 {
		return nil, fmt.Errorf("exit code %d\n%s", code, log)
	}
	o := summarized(t, host)
	o.Description += log
	return o, nil
}

// summarized is the tree and the config of an image, without times and what depends on them.
func summarized(t *testing.T, dir string) *buildtest.Outcome {
	t.Helper()
	raw, err := readImage(t, filepath.Join(dir, "image")).RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	delete(config, "rootfs")
	f, err := os.Open(filepath.Join(dir, "tree.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content := sha256.New()
		if _, err := io.Copy(content, r); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s %c %o %d:%d %q %x", h.Name, h.Typeflag, h.Mode, h.Uid, h.Gid, h.Linkname, content.Sum(nil)))
	}
	slices.Sort(lines)
	return &buildtest.Outcome{Summary: fmt.Sprint(config, "\n", strings.Join(lines, "\n"))}
}

// However a Dockerfile and its context change, with RUNs that look at everything: a build with a cache gives what it
// gives without. It is pkg/build's test of that name with real processes.
func TestCachedEqualsUncached(t *testing.T) {
	needShell(t)
	mutations := 40
	if testing.Short() {
		mutations = 5
	}
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			mutations := mutations
			if b.name == "sandbox" {
				mutations = min(mutations, 10) // each RUN starts a kernel
			}
			d := newDifferential(t, b)
			started := time.Now()
			buildtest.Walk(t, mutations, d.build)
			t.Logf("%v a mutation", time.Since(started)/time.Duration(mutations))
		})
	}
}
