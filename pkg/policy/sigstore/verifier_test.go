package sigstore_test

import (
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/internal/testbase/cosigned"
	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/policy/sigstore"
	"github.com/slipway-build/slipway/pkg/registry"
)

var amd64 = op.Platform{OS: "linux", Architecture: "amd64"}

// server is a registry that remembers what it was asked for, and can be told to fail.
type server struct {
	host  string
	inner http.Handler

	mu    sync.Mutex
	asked []string
	fails func(path string) bool
}

func serve(t *testing.T) *server {
	t.Helper()
	s := &server{inner: ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true))}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.host = strings.TrimPrefix(h.URL, "http://")
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Method+" "+r.URL.Path)
	fails := s.fails != nil && s.fails(r.URL.Path)
	s.mu.Unlock()
	if fails {
		http.Error(w, "not today", http.StatusInternalServerError)
		return
	}
	s.inner.ServeHTTP(w, r)
}

// requests gives what was asked since the last call.
func (s *server) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// put pushes an index of one image for linux/amd64, and returns the references that pin both.
func put(t *testing.T, host, repo string) (index, image string) {
	t.Helper()
	img, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.MediaType(img, types.OCIManifestSchema1)
	list := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{
		Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
	})
	tag, err := name.NewTag(host + "/" + repo + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, list); err != nil {
		t.Fatal(err)
	}
	pin := func(d interface{ Digest() (v1.Hash, error) }) string {
		h, err := d.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return tag.Digest(h.String()).String()
	}
	return pin(list), pin(img)
}

// trust is what policies are made of.
type trust struct {
	dir              string
	key, other       *cosigned.Key
	sigstore, others *cosigned.Sigstore
}

func newTrust(t *testing.T) *trust {
	t.Helper()
	w := &trust{t.TempDir(), cosigned.NewKey(t), cosigned.NewKey(t), cosigned.NewSigstore(t), cosigned.NewSigstore(t)}
	for file, content := range map[string][]byte{
		"key.pub": w.key.PEM, "other.pub": w.other.PEM,
		"root.pem": w.sigstore.Root, "both.pem": slices.Concat(w.sigstore.Root, w.sigstore.Intermediate), "intermediate.pem": w.sigstore.Intermediate,
		"others.pem": slices.Concat(w.others.Root, w.others.Intermediate),
		"rekor.pub":  w.sigstore.Rekor, "others.pub": w.others.Rekor,
	} {
		if err := os.WriteFile(filepath.Join(w.dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// demands is what a policy of one list of requirements has.
func (w *trust) demands(t *testing.T, requirements string, i *policy.Image) *policy.Demands {
	t.Helper()
	file := filepath.Join(w.dir, "policy.json")
	if err := os.WriteFile(file, []byte(`{"default": [`+requirements+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := policy.LoadImages(file)
	if err != nil {
		t.Fatal(err)
	}
	return p.For(i)
}

func client(t *testing.T, o registry.Options) *registry.Client {
	t.Helper()
	o.Retry = registry.Retry{Attempts: 2, Base: time.Millisecond}
	c, err := registry.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// verify verifies what one requirement requires of an image.
func (w *trust) verify(t *testing.T, ref, requirement string, o registry.Options) error {
	t.Helper()
	i, err := policy.NewImage(ref)
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, o)
	found, err := c.Find(t.Context(), ref, amd64)
	if err != nil {
		t.Fatal(err)
	}
	return sigstore.New(t.Context(), c).Verify(t.Context(), i, found, w.demands(t, requirement, i).Signatures[0])
}

const (
	repository = `, "signedIdentity": {"type": "matchRepository"}}`
	anyName    = `, "signedIdentity": {"type": "matchDigest"}}`

	byKey     = `{"type": "sigstoreSigned", "keyPath": "key.pub"`
	byKeys    = `{"type": "sigstoreSigned", "keyPaths": ["other.pub", "key.pub"]`
	loggedKey = byKey + `, "rekorPublicKeyPath": "rekor.pub"`
)

// fulcio is the beginning of a requirement of somebody's signature.
func fulcio(subject string) string {
	return `{"type": "sigstoreSigned", "rekorPublicKeyPaths": ["others.pub", "rekor.pub"], "fulcio": {"caPath": "root.pem", "oidcIssuer": "https://issuer.example", ` + subject + `}`
}

func pki(subject string) string {
	return `{"type": "sigstoreSigned", "pki": {"caRootsPath": "root.pem", "caIntermediatesPath": "intermediate.pem", ` + subject + `}`
}

const (
	issuer = "https://issuer.example"
	email  = "builder@example.com"
	uri    = "https://kubernetes.io/namespaces/ci/serviceaccounts/builder"
)

func TestVerify(t *testing.T) {
	w := newTrust(t)
	me, account := cosigned.Identity{Issuer: issuer, Email: email}, cosigned.Identity{Issuer: issuer, URI: uri}
	changed := func(id cosigned.Identity, change func(*cosigned.Identity)) cosigned.Identity { change(&id); return id }
	keyed := func(c cosigned.Claim) func(*testing.T, string, string) {
		return func(t *testing.T, index, _ string) { w.key.Sign(t, index, c) }
	}
	keyless := func(id cosigned.Identity) func(*testing.T, string, string) {
		return func(t *testing.T, index, _ string) { w.sigstore.Sign(t, index, id, cosigned.Claim{}) }
	}
	for _, test := range []struct {
		title       string
		sign        func(t *testing.T, index, image string)
		requirement string
		err         string // "" if it is signed
	}{
		{"nothing", func(*testing.T, string, string) {}, byKey + repository, "it has no signature"},
		{"a key", keyed(cosigned.Claim{}), byKey + repository, ""},
		{"one of several keys", keyed(cosigned.Claim{}), byKeys + repository, ""},
		{"another key", keyed(cosigned.Claim{}), `{"type": "sigstoreSigned", "keyPath": "other.pub"` + repository, "invalid signature"},
		{"a key, among other signatures", func(t *testing.T, index, _ string) {
			w.other.Sign(t, index, cosigned.Claim{})
			w.key.Tamper(t, index)
			w.key.Sign(t, index, cosigned.Claim{})
		}, byKey + repository, ""},
		{"tampered with", func(t *testing.T, index, _ string) { w.key.Tamper(t, index) }, byKey + repository, "invalid signature"},
		{"of another image", keyed(cosigned.Claim{Digest: "sha256:" + strings.Repeat("1", 64)}), byKey + repository, "digest in claim"},
		{"of another kind", keyed(cosigned.Claim{Type: "atomic container signature"}), byKey + repository, "atomic container signature"},
		{"of another repository", keyed(cosigned.Claim{Reference: "quay.io/other"}), byKey + repository, "it is for the repository quay.io/other"},
		{"of another repository, which is the one", keyed(cosigned.Claim{Reference: "quay.io/other"}), byKey + `, "signedIdentity": {"type": "exactRepository", "dockerRepository": "quay.io/other"}}`, ""},
		{"of no tag", keyed(cosigned.Claim{}), byKey + `}`, "matchRepository"},
		{"of any name", keyed(cosigned.Claim{Reference: "quay.io/other"}), byKey + anyName, ""},
		{"the platform's manifest", func(t *testing.T, _, image string) { w.key.Sign(t, image, cosigned.Claim{}) }, byKey + repository, ""},
		{"no log", keyed(cosigned.Claim{}), loggedKey + repository, "it is in no transparency log"},
		{"a key and a log", func(t *testing.T, index, _ string) { w.sigstore.Log(t, index, w.key, cosigned.Claim{}) }, loggedKey + repository, ""},
		{"a key and another log", func(t *testing.T, index, _ string) { w.others.Log(t, index, w.key, cosigned.Claim{}) }, loggedKey + repository, "rekor log public key not found"},
		{"a log that nobody asks for", func(t *testing.T, index, _ string) { w.others.Log(t, index, w.key, cosigned.Claim{}) }, byKey + repository, ""},

		{"somebody by mail", keyless(me), fulcio(`"subjectEmail": "`+email+`"`) + repository, ""},
		{"somebody else", keyless(me), fulcio(`"subjectEmail": "other@example.com"`) + repository, email},
		{"of another issuer", keyless(changed(me, func(i *cosigned.Identity) { i.Issuer = "https://other.example" })), fulcio(`"subjectEmail": "`+email+`"`) + repository, "https://other.example"},
		{"a service account", keyless(account), fulcio(`"subjectURI": "`+uri+`"`) + repository, ""},
		{"another service account", keyless(account), fulcio(`"subjectURI": "`+uri+`2"`) + repository, uri},
		{"an expression", keyless(account), fulcio(`"subjectRegExp": "https://kubernetes[.]io/namespaces/ci/.*"`) + repository, ""},
		{"an expression for a part", keyless(account), fulcio(`"subjectRegExp": "kubernetes[.]io/namespaces/ci"`) + repository, uri},
		{"an expression of alternatives", keyless(account), fulcio(`"subjectRegExp": "https://kubernetes|builder"`) + repository, uri},
		{"a URI is no mail", keyless(changed(account, func(i *cosigned.Identity) { i.URI = email })), fulcio(`"subjectEmail": "`+email+`"`) + repository, "is for"},
		{"logged long ago", keyless(changed(me, func(i *cosigned.Identity) { i.Age = 1000 * time.Hour })), fulcio(`"subjectEmail": "`+email+`"`) + repository, ""},
		{"logged too late", keyless(changed(me, func(i *cosigned.Identity) { i.LoggedAfter = time.Hour })), fulcio(`"subjectEmail": "`+email+`"`) + repository, "expired"},
		{"not logged", keyless(changed(me, func(i *cosigned.Identity) { i.Unlogged = true })), fulcio(`"subjectEmail": "`+email+`"`) + repository, "it is in no transparency log"},
		{"of another Fulcio", func(t *testing.T, index, _ string) { w.others.Sign(t, index, me, cosigned.Claim{}) }, fulcio(`"subjectEmail": "`+email+`"`) + repository, "unknown authority"},
		{"with a key only", keyed(cosigned.Claim{}), fulcio(`"subjectEmail": "`+email+`"`) + repository, "it is in no transparency log"},
		{"somebody, for another repository", func(t *testing.T, index, _ string) {
			w.sigstore.Sign(t, index, me, cosigned.Claim{Reference: "quay.io/other"})
		}, fulcio(`"subjectEmail": "`+email+`"`) + repository, "it is for the repository quay.io/other"},

		{"a certificate", keyless(changed(me, func(i *cosigned.Identity) { i.Unlogged = true })), pki(`"subjectEmail": "`+email+`"`) + repository, ""},
		{"a certificate of a host", keyless(cosigned.Identity{Host: "build.example", Unlogged: true}), pki(`"subjectHostname": "build.example"`) + repository, ""},
		{"a certificate of another host", keyless(cosigned.Identity{Host: "build.example", Unlogged: true}), pki(`"subjectHostname": "other.example"`) + repository, "build.example"},
		{"a certificate of a host without the mail", keyless(cosigned.Identity{Host: "build.example", Unlogged: true}), pki(`"subjectHostname": "build.example", "subjectEmail": "`+email+`"`) + repository, "nobody"},
		{"a certificate that is over", keyless(changed(me, func(i *cosigned.Identity) { i.Age, i.Unlogged = time.Hour, true })), pki(`"subjectEmail": "`+email+`"`) + repository, "expired"},

		{"a bundle", func(t *testing.T, index, _ string) { w.key.Bundle(t, index, "") }, byKey + anyName, ""},
		{"a bundle names no repository", func(t *testing.T, index, _ string) { w.key.Bundle(t, index, "") }, byKey + repository, "it has no signature"},
		{"a bundle with another key", func(t *testing.T, index, _ string) { w.other.Bundle(t, index, "") }, byKey + anyName, "could not verify"},
		{"a bundle that is an attestation", func(t *testing.T, index, _ string) { w.key.Bundle(t, index, "https://spdx.dev/Document") }, byKey + anyName, "it is an attestation of https://spdx.dev/Document"},
		{"a bundle that is in no log", func(t *testing.T, index, _ string) { w.key.Bundle(t, index, "") }, loggedKey + anyName, "log"},
		{"a bundle of the platform's manifest", func(t *testing.T, _, image string) { w.key.Bundle(t, image, "") }, byKey + anyName, ""},
		{"somebody's bundle", func(t *testing.T, index, _ string) { w.sigstore.Bundle(t, index, account) }, strings.Replace(fulcio(`"subjectURI": "`+uri+`"`), "root.pem", "both.pem", 1) + anyName, ""},
		{"somebody else's bundle", func(t *testing.T, index, _ string) { w.sigstore.Bundle(t, index, me) }, strings.Replace(fulcio(`"subjectURI": "`+uri+`"`), "root.pem", "both.pem", 1) + anyName, email},
		{"a bundle of another Fulcio", func(t *testing.T, index, _ string) { w.others.Bundle(t, index, account) }, strings.Replace(fulcio(`"subjectURI": "`+uri+`"`), "root.pem", "both.pem", 1) + anyName, "certificate"},
	} {
		t.Run(test.title, func(t *testing.T) {
			s := serve(t)
			index, image := put(t, s.host, "base")
			test.sign(t, index, image)
			err := w.verify(t, s.host+"/base:1", test.requirement, registry.Options{})
			var unsigned *policy.UnsignedError
			switch {
			case test.err == "" && err != nil:
				t.Error(err)
			case test.err != "" && (!errors.As(err, &unsigned) || !strings.Contains(err.Error(), test.err)):
				t.Errorf("the error is %v, want %q", err, test.err)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has several lines: %v", err)
			}
		})
	}
}

// Signatures of an image that is asked for by its own digest are its own.
func TestVerifyByDigest(t *testing.T) {
	w, s := newTrust(t), serve(t)
	index, image := put(t, s.host, "base")
	w.key.Sign(t, index, cosigned.Claim{})
	if err := w.verify(t, index, byKey+repository, registry.Options{}); err != nil {
		t.Error(err)
	}
	var unsigned *policy.UnsignedError
	if err := w.verify(t, image, byKey+repository, registry.Options{}); !errors.As(err, &unsigned) {
		t.Errorf("what only its index is signed for: %v", err)
	}
	w.other.Sign(t, image, cosigned.Claim{Reference: s.host + "/base:7"})
	if err := w.verify(t, image, `{"type": "sigstoreSigned", "keyPath": "other.pub"}`, registry.Options{}); err != nil {
		t.Error(err)
	}
}

// Debian's registry knows no referrers: what refers to an image is in a tag.
func TestVerifyInDistribution(t *testing.T) {
	w, r := newTrust(t), distribution.Serve(t)
	index, image := put(t, r.Host, "team/base")
	w.key.Sign(t, index, cosigned.Claim{})
	w.sigstore.Sign(t, index, cosigned.Identity{Issuer: issuer, Email: email}, cosigned.Claim{})
	w.other.Bundle(t, image, "")
	for requirement, signed := range map[string]bool{
		byKey + repository: true,
		fulcio(`"subjectEmail": "`+email+`"`) + repository:               true,
		`{"type": "sigstoreSigned", "keyPath": "other.pub"` + anyName:    true,
		`{"type": "sigstoreSigned", "keyPath": "others.pub"` + anyName:   false,
		fulcio(`"subjectEmail": "other@example.com"`) + repository:       false,
		`{"type": "sigstoreSigned", "keyPath": "other.pub"` + repository: false,
	} {
		err := w.verify(t, r.Host+"/team/base:1", requirement, registry.Options{})
		var unsigned *policy.UnsignedError
		if signed != (err == nil) || err != nil && !errors.As(err, &unsigned) {
			t.Errorf("%s: %v", requirement, err)
		}
	}
}

// A registry that does not answer is not one without signatures.
func TestVerifyUnreachable(t *testing.T) {
	for part, requirement := range map[string]string{".sig": byKey + repository, "/referrers/": byKey + anyName} {
		w, s := newTrust(t), serve(t)
		put(t, s.host, "base")
		s.fails = func(path string) bool { return strings.Contains(path, part) }
		err := w.verify(t, s.host+"/base:1", requirement, registry.Options{})
		var answer *registry.Error
		if !errors.As(err, &answer) || !answer.Temporary() {
			t.Errorf("%s: the error is %v", part, err)
		}
	}
}

// What anybody may have put there does no harm.
func TestVerifyMalformed(t *testing.T) {
	w := newTrust(t)
	for title, annotations := range map[string]map[string]string{
		"no signature":              {},
		"no base64":                 {"dev.cosignproject.cosign/signature": "?"},
		"no entry":                  {"dev.sigstore.cosign/bundle": "x"},
		"an entry without a body":   {"dev.sigstore.cosign/bundle": "{}"},
		"an entry with a number":    {"dev.sigstore.cosign/bundle": `{"Payload": {"body": 1}}`},
		"an entry without anything": {"dev.sigstore.cosign/bundle": `{"Payload": {"body": "` + base64.StdEncoding.EncodeToString([]byte(`{"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {}}`)) + `"}}`},
		"no certificate":            {"dev.sigstore.cosign/certificate": "x"},
		"no chain":                  {"dev.sigstore.cosign/chain": "x"},
	} {
		t.Run(title, func(t *testing.T) {
			s := serve(t)
			index, _ := put(t, s.host, "base")
			all := map[string]string{"dev.cosignproject.cosign/signature": "eA==", "dev.sigstore.cosign/bundle": `{"Payload": {}}`}
			for k, v := range annotations {
				all[k] = v
			}
			if len(annotations) == 0 {
				all = nil
			}
			attach(t, index, all)
			for _, requirement := range []string{byKey + repository, loggedKey + repository, fulcio(`"subjectEmail": "`+email+`"`) + repository, pki(`"subjectEmail": "`+email+`"`) + repository} {
				var unsigned *policy.UnsignedError
				if err := w.verify(t, s.host+"/base:1", requirement, registry.Options{}); !errors.As(err, &unsigned) || len(unsigned.Why) != 1 {
					t.Errorf("%s: %v", requirement, err)
				}
			}
		})
	}
}

// attach puts one signature, whatever it is, where those of an image are.
func attach(t *testing.T, ref string, annotations map[string]string) {
	t.Helper()
	d, err := name.NewDigest(ref)
	if err != nil {
		t.Fatal(err)
	}
	l, err := random.Layer(10, "application/vnd.dev.cosign.simplesigning.v1+json")
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.Append(empty.Image, mutate.Addendum{Layer: l, Annotations: annotations})
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(d.Tag(strings.Replace(d.DigestStr(), ":", "-", 1)+".sig"), img); err != nil {
		t.Fatal(err)
	}
}

// Signatures are where the image is: in the mirror that has it, else in the other places.
func TestVerifyInMirrors(t *testing.T) {
	w := newTrust(t)
	for _, test := range []struct {
		title              string
		inMirror, inOrigin bool
		originDown         bool
		signed             bool
	}{
		{"in the mirror", true, false, true, true},
		{"in the registry behind it", false, true, false, true},
		{"nowhere", false, false, false, false},
		{"nowhere that can be asked", false, true, true, false},
	} {
		t.Run(test.title, func(t *testing.T) {
			mirror, origin := serve(t), serve(t)
			index, _ := put(t, origin.host, "base")
			copyTo(t, index, mirror.host+"/base:1")
			copied := strings.Replace(index, origin.host, mirror.host, 1)
			claim := cosigned.Claim{Reference: origin.host + "/base"} // whichever registry it is in
			if test.inMirror {
				w.key.Sign(t, copied, claim)
			}
			if test.inOrigin {
				w.key.Sign(t, index, claim)
			}
			origin.fails = func(string) bool { return test.originDown }
			err := w.verify(t, origin.host+"/base:1", byKey+repository, registry.Options{Mirrors: map[string][]string{origin.host: {mirror.host}}})
			var unsigned *policy.UnsignedError
			if (err == nil) != test.signed || err != nil && !errors.As(err, &unsigned) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func copyTo(t *testing.T, from, to string) {
	t.Helper()
	source, err := name.ParseReference(from)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(source)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index); err != nil {
		t.Fatal(err)
	}
}

// The signatures of an image are read once, however many requirements there are.
func TestSignaturesAreReadOnce(t *testing.T) {
	w, s := newTrust(t), serve(t)
	index, _ := put(t, s.host, "base")
	w.key.Sign(t, index, cosigned.Claim{})
	w.other.Sign(t, index, cosigned.Claim{})
	ref := s.host + "/base:1"
	i, err := policy.NewImage(ref)
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, registry.Options{})
	found, err := c.Find(t.Context(), ref, amd64)
	if err != nil {
		t.Fatal(err)
	}
	v := sigstore.New(t.Context(), c)
	s.requests()
	for _, d := range w.demands(t, byKey+repository+`, {"type": "sigstoreSigned", "keyPath": "other.pub"`+repository, i).Signatures {
		if err := v.Verify(t.Context(), i, found, d); err != nil {
			t.Error(err)
		}
	}
	read := slices.DeleteFunc(s.requests(), func(r string) bool { return strings.HasSuffix(r, "/v2/") })
	if len(read) != 2 || !strings.HasSuffix(read[0], ".sig") || !strings.Contains(read[1], "/blobs/") { // both sign the same
		t.Errorf("asked for %q", read)
	}
}
