package e2e

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	provenancev1 "github.com/in-toto/attestation/go/predicates/provenance/v1"
	statementv1 "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/internal/testbase/forge"
)

// provenanceDockerfile brings something in by each way that there is.
const provenanceDockerfile = `ARG REGISTRY
ARG WEB
ARG GIT
FROM $REGISTRY/base/unused:1 AS unused
RUN true
FROM $REGISTRY/base/mounted:1 AS mounted
FROM $REGISTRY/base/stage:1 AS stage
RUN echo made > /made
FROM $REGISTRY/base/os:1
ARG REGISTRY
ARG WEB
ARG GIT
ARG SECRET_ARG
COPY --from=stage /made /
COPY --from=HOST/base/copied:1 /etc/passwd /copied
RUN --mount=type=bind,from=mounted,target=/m --mount=type=secret,id=token test -e /m/etc/passwd
ADD $WEB/file /file
ADD $GIT#v1 /repository
COPY local /
`

// What provenance says was brought in is what registry, git server and web server say they were asked for: nothing more and nothing less,
// each with its digest.
func TestProvenanceTellsWhatWasFetched(t *testing.T) {
	needRoot(t)
	r := distribution.Serve(t)
	pushed := map[string]string{}
	for _, repo := range []string{"base/unused", "base/stage", "base/os", "base/copied", "base/mounted"} {
		pushed[repo] = pushDistinct(t, r.Host, repo)
	}
	web, asked := serveFile(t, "from the web")
	f := forge.New(t)
	added := f.Repository(t, "added.git")
	addedCommit := added.Commit(map[string]string{"a": "a"})
	forge.Git(t, added.Dir, "tag", "-a", "-m", "x", "v1")
	added.Push()
	context := f.Repository(t, "context.git")
	contextCommit := context.Commit(map[string]string{"Dockerfile": strings.ReplaceAll(provenanceDockerfile, "HOST", r.Host), "local": "x"})

	before := len(r.Log())
	dir := write(t, map[string]string{"token": "hidden-token"})
	args := []string{
		"build", "--attest", "type=provenance,mode=max", "--secret", "id=token,src=" + dir + "/token", "--build-arg", "REGISTRY=" + r.Host,
		"--build-arg", "WEB=" + web, "--build-arg", "GIT=" + added.URL, "-t", r.Host + "/app:1", context.URL,
	}
	mustSlipway(t, dir, args...)
	log := r.Log()[before:]
	said := attestations(t, r.Host+"/app:1")["https://slsa.dev/provenance/v1"]
	checkSchema(t, said)
	if strings.Contains(string(said), "hidden") {
		t.Error("the provenance has the secret")
	}

	got := dependencies(t, said)
	want := map[string]string{
		web + "/file":     fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("from the web"))),
		added.URL + "#v1": "sha1:" + addedCommit, context.URL: "sha1:" + contextCommit,
	}
	fetched := regexp.MustCompile(`"GET /v2/(base/[a-z]+)/manifests/`)
	for _, m := range fetched.FindAllStringSubmatch(log, -1) {
		want["pkg:docker/"+r.Host+"/"+m[1]+"@1?platform=linux%2Famd64"] = pushed[m[1]]
	}
	if len(want) != 3+4 {
		t.Errorf("the registry was asked for %d images, not for four: %s", len(want)-3, log)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the provenance lists\n%v\nfetched were\n%v", got, want)
	}
	if n := asked(); n == 0 {
		t.Error("nobody asked for the file")
	}

	// A build that finds everything in the state directory's cache brings in the same.
	mustSlipway(t, dir, append(slices.Clone(args[:len(args)-1]), "--cache-dir", t.TempDir(), context.URL)...)
	if again := dependencies(t, attestations(t, r.Host+"/app:1")["https://slsa.dev/provenance/v1"]); fmt.Sprint(again) != fmt.Sprint(want) {
		t.Errorf("the second build's provenance lists\n%v", again)
	}
}

// pushDistinct pushes the base image with a layer that no other has.
func pushDistinct(t *testing.T, host, repo string) string {
	t.Helper()
	image, err := shared.base.Image()
	if err != nil {
		t.Fatal(err)
	}
	l, err := random.Layer(64, types.OCILayer)
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.AppendLayers(image, l); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host + "/" + repo + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func serveFile(t *testing.T, content string) (url string, asked func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		n++
		mu.Unlock()
		_, _ = w.Write([]byte(content))
	}))
	t.Cleanup(s.Close)
	return s.URL, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// attestations are the statements about the only image of an index, by type.
func attestations(t *testing.T, ref string) map[string][]byte {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(parsed)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	var about v1.Hash
	for _, d := range m.Manifests {
		if d.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
			about = d.Digest
			continue
		}
		if d.Annotations["vnd.docker.reference.digest"] != about.String() || d.Platform.OS != "unknown" {
			t.Errorf("the attestation is about %v, the image is %s", d.Annotations, about)
		}
		holder, err := remote.Image(parsed.Context().Digest(d.Digest.String()))
		if err != nil {
			t.Fatal(err)
		}
		held, err := holder.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range held.Layers {
			all[l.Annotations["in-toto.io/predicate-type"]] = blobOf(t, parsed.Context().Digest(l.Digest.String()))
		}
	}
	return all
}

func blobOf(t *testing.T, ref name.Digest) []byte {
	t.Helper()
	blob, err := remote.Layer(ref)
	if err != nil {
		t.Fatal(err)
	}
	r, err := blob.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// checkSchema checks a statement against the definitions of in-toto and SLSA.
func checkSchema(t *testing.T, said []byte) {
	t.Helper()
	var statement statementv1.Statement
	if err := protojson.Unmarshal(said, &statement); err != nil {
		t.Fatal(err)
	}
	if err := statement.Validate(); err != nil {
		t.Error(err)
	}
	predicate, err := json.Marshal(statement.GetPredicate().AsMap())
	if err != nil {
		t.Fatal(err)
	}
	var p provenancev1.Provenance
	// BuildKit's fields beside SLSA's are allowed by its rules for extensions.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(predicate, &p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
}

// dependencies are the resolved dependencies of provenance: digests by URI.
func dependencies(t *testing.T, said []byte) map[string]string {
	t.Helper()
	var s struct {
		Predicate struct {
			BuildDefinition struct {
				ResolvedDependencies []struct {
					URI    string            `json:"uri"`
					Digest map[string]string `json:"digest"`
				} `json:"resolvedDependencies"`
			} `json:"buildDefinition"`
		} `json:"predicate"`
	}
	if err := json.Unmarshal(said, &s); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, d := range s.Predicate.BuildDefinition.ResolvedDependencies {
		if _, twice := all[d.URI]; twice {
			t.Errorf("%s is listed twice", d.URI)
		}
		for algorithm, digest := range d.Digest {
			all[d.URI] = algorithm + ":" + digest
		}
	}
	return all
}
