package build

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/internal/testbase/faulty"
	"github.com/slipway-build/slipway/pkg/registry"
)

// faultyDockerfile reads a layer of its base image, to know who demo is, and mounts or copies the others.
const faultyDockerfile = "ARG HOST\nFROM $HOST/base/os:1\nCOPY --chown=demo a /srv/a\nCOPY b /srv/b\nWORKDIR /srv/made\n"

// Two hundred builds on a bad network, with a busy registry, from and to Debian's docker-registry. Not one gives a wrong
// image, and not one that says it succeeded has not; nearly all succeed.
func TestBuildsOnABadNetwork(t *testing.T) {
	const builds, contexts, parallel = 200, 10, 4
	r := distribution.Serve(t)
	pushFaultyBase(t, r.Host)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	proxy := faulty.Serve(t, r.Host, 0.08, seed)
	wanted := make([]ending, contexts)
	dirs := make([]string, contexts)
	for i := range contexts {
		dirs[i] = faultyContext(t, i)
		wanted[i] = buildOn(t.Context(), t, dirs[i], r.Host, r.Host, fmt.Sprintf("wanted-%d:1", i))
		if wanted[i].err != nil {
			t.Fatalf("without faults: %v", wanted[i].err)
		}
	}
	var failed atomic.Int32
	var mu sync.Mutex
	reasons := map[string]int{}
	g := errgroup.Group{}
	g.SetLimit(parallel)
	for i := range builds {
		g.Go(func() error {
			got := buildOn(t.Context(), t, dirs[i%contexts], proxy.Host, proxy.Host, fmt.Sprintf("faulty-%d:1", i))
			if got.err != nil {
				failed.Add(1)
				mu.Lock()
				reasons[got.err.Error()]++
				mu.Unlock()
			}
			return checkFaulty(r.Host, i, got, wanted[i%contexts])
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	checkStorage(t, r.Storage)
	t.Logf("%d of %d builds failed; faults: %v", failed.Load(), builds, proxy.Hits())
	if failed.Load() > builds/100 {
		t.Errorf("%d of %d builds failed: %v", failed.Load(), builds, reasons)
	}
	for fault, n := range proxy.Hits() {
		if n == 0 {
			t.Errorf("this never happened: %s", fault)
		}
	}
}

// pushFaultyBase pushes a base image of several layers.
func pushFaultyBase(t *testing.T, host string) {
	t.Helper()
	program, err := testbase.Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	image, err := program.Image()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		l, err := random.Layer(200<<10, types.OCILayer)
		if err != nil {
			t.Fatal(err)
		}
		if image, err = mutate.AppendLayers(image, l); err != nil {
			t.Fatal(err)
		}
	}
	ref, err := name.ParseReference(host + "/base/os:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
}

// faultyContext is a build context that is different each time.
func faultyContext(t *testing.T, i int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), fmt.Sprint(i))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Error(err)
	}
	content := make([]byte, 64<<10)
	r := rand.NewChaCha8([32]byte{byte(i), byte(i >> 8)})
	for _, f := range []string{"a", "b"} {
		if _, err := r.Read(content); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), content, 0o600); err != nil {
			t.Error(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(faultyDockerfile), 0o600); err != nil {
		t.Error(err)
	}
	return dir
}

// ending is how a build ended.
type ending struct {
	digest string
	err    error
}

func buildOn(ctx context.Context, t *testing.T, dir, from, to, tag string) ending {
	t.Helper()
	epoch := time.Unix(1_700_000_000, 0)
	state := filepath.Join(dir, "..", filepath.Base(dir)+"-"+filepath.Base(tag))
	defer os.RemoveAll(state)
	result, err := Run(ctx, Options{
		Context: dir, BuildArgs: map[string]string{"HOST": from}, Tags: []string{to + "/app/" + tag}, Epoch: &epoch,
		StateDir: state, Progress: "quiet", ProgressTo: t.Output(),
		Registry: registry.Options{Retry: registry.Retry{Base: 2 * time.Millisecond, Max: time.Second}},
	})
	if err != nil {
		return ending{err: err}
	}
	return ending{digest: result.Digest}
}

// checkFaulty compares the build on the bad network with the one without faults, by what the registry has.
func checkFaulty(host string, i int, got, want ending) error {
	ref, err := name.ParseReference(fmt.Sprintf("%s/app/faulty-%d:1", host, i))
	if err != nil {
		return err
	}
	image, err := remote.Image(ref)
	switch {
	case err != nil && got.err != nil:
		return nil //nolint:nilerr // the build failed, and there is nothing: that is right
	case err != nil:
		return fmt.Errorf("build %d says it succeeded, and the registry has nothing: %w", i, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	// One that failed when the tag was already there is right all the same.
	if digest.String() != want.digest || got.err == nil && got.digest != want.digest {
		return fmt.Errorf("build %d gave %s, the registry has %s, right is %s", i, got.digest, digest, want.digest)
	}
	return validImage(i, image)
}

// validImage checks what the registry says of an image; the bytes of all layers are checked at the end.
func validImage(i int, image v1.Image) error {
	if err := validate.Image(image, validate.Fast); err != nil {
		return fmt.Errorf("build %d: what the registry has is damaged: %w", i, err)
	}
	return nil
}

// checkStorage checks all content in the registry's storage against the digests by which it is kept.
func checkStorage(t *testing.T, storage string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(storage, "docker/registry/v2/blobs/sha256/*/*/data"))
	if err != nil || len(files) == 0 {
		t.Errorf("the registry's storage has %d files, %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		if want := filepath.Base(filepath.Dir(file)); want != fmt.Sprintf("%x", sha256.Sum256(content)) {
			t.Errorf("the registry has something else as %s", want)
		}
	}
}
