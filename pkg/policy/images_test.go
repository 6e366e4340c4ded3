package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// policyFile writes a policy.
func policyFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// newKey is a public key, as the files of keys have it.
func newKey(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := cryptoutils.MarshalPublicKeyToPEM(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem
}

// The narrowest scope counts, then the transport, then the policy.
func TestScopes(t *testing.T) {
	digest := "sha256:" + strings.Repeat("1", 64)
	for _, test := range []struct {
		title, image string
		scopes       []string // the one that is meant comes first
	}{
		{"a short name", "alpine", []string{"docker.io/library/alpine:latest", "docker.io/library/alpine", "docker.io/library", "docker.io", "*.io"}},
		{"a tag", "quay.io/a/b:1", []string{"quay.io/a/b:1", "quay.io/a/b", "quay.io/a", "quay.io"}},
		{"a digest", "quay.io/a/b@" + digest, []string{"quay.io/a/b@" + digest, "quay.io/a/b"}},
		{"a tag beside a digest says nothing", "quay.io/a/b:1@" + digest, []string{"quay.io/a/b@" + digest, "quay.io/a/b"}},
		{"a scope of a tag is not one of a digest", "quay.io/a/b:1@" + digest, []string{"quay.io/a", "quay.io/a/b:1"}},
		{"another tag", "quay.io/a/b:1", []string{"quay.io/a/b", "quay.io/a/b:11", "quay.io/a/b:2"}},
		{"not the beginning of a name", "quay.io/a/bc", []string{"quay.io/a", "quay.io/a/b"}},
		{"a registry with a port", "r.example.com:5000/a", []string{"r.example.com:5000", "r.example.com", "*.example.com"}},
		{"a port is not the registry without", "r.example.com:5000/a", []string{"*.example.com", "r.example.com"}},
		{"a registry by its domain", "r.eu.example.com:5000/a", []string{"*.eu.example.com", "*.example.com", "*.com"}},
		{"the domain itself is not below it", "example.com/a", []string{"*.com", "*.example.com"}},
		{"no scope", "quay.io/a", []string{""}},
		{"capital letters", "QUAY.io/a/b", []string{"quay.io/a/b:latest", "quay.io"}},
		{"capital letters of the default registry", "DOCKER.IO/alpine:A", []string{"docker.io/library/alpine:A", "docker.io/library/alpine"}},
		{"a localhost", "localhost/a:1", []string{"localhost", "*.localhost"}},
	} {
		t.Run(test.title, func(t *testing.T) {
			// Only the first scope accepts.
			scopes := map[string]any{}
			for i, s := range test.scopes {
				scopes[s] = []any{map[string]string{"type": map[bool]string{true: "insecureAcceptAnything", false: "reject"}[i == 0]}}
			}
			text, err := json.Marshal(map[string]any{"default": []any{map[string]string{"type": "reject"}}, "transports": map[string]any{"docker": scopes}})
			if err != nil {
				t.Fatal(err)
			}
			p, err := LoadImages(policyFile(t, string(text)))
			if err != nil {
				t.Fatal(err)
			}
			i, err := NewImage(test.image)
			if err != nil {
				t.Fatal(err)
			}
			if p.For(i).Reject {
				t.Errorf("%s is rejected by %s", test.image, text)
			}
			// Without it, another counts.
			delete(scopes, test.scopes[0])
			if text, err = json.Marshal(map[string]any{"default": []any{map[string]string{"type": "reject"}}, "transports": map[string]any{"docker": scopes}}); err != nil {
				t.Fatal(err)
			}
			if p, err = LoadImages(policyFile(t, string(text))); err != nil {
				t.Fatal(err)
			}
			if !p.For(i).Reject {
				t.Errorf("%s is accepted by %s", test.image, text)
			}
		})
	}
}

func TestLocalScopes(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	layout, archive := filepath.Join(dir, "sub", "layout"), filepath.Join(dir, "image.tar")
	if err := os.MkdirAll(layout, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(archive, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(layout, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		title, path, id  string
		hasLayout        bool
		transport, scope string // that accepts
		accepted         bool
	}{
		{"a layout", layout, "1", true, "oci", layout, true},
		{"an image in it", layout, "1", true, "oci", layout + ":1", true},
		{"another image in it", layout, "1", true, "oci", layout + ":2", false},
		{"a directory above", layout, "", true, "oci", dir, true},
		{"through a link", filepath.Join(dir, "link"), "", true, "oci", layout, true},
		{"the link's name", filepath.Join(dir, "link"), "", true, "oci", filepath.Join(dir, "link"), false},
		{"beside it", layout, "", true, "oci", filepath.Join(dir, "su"), false},
		{"all layouts", layout, "", true, "oci", "", true},
		{"a layout is no archive", layout, "", true, "oci-archive", "", false},
		{"an archive of a layout", archive, "1", true, "oci-archive", archive + ":1", true},
		{"an archive of a layout is no layout", archive, "1", true, "oci", "", false},
		{"docker save", archive, "1", false, "docker-archive", "", true},
		{"docker save is no layout", archive, "1", false, "oci-archive", "", false},
	} {
		t.Run(test.title, func(t *testing.T) {
			p, err := LoadImages(policyFile(t, `{"default": [{"type": "reject"}], "transports": {"`+test.transport+`": {"`+test.scope+`": [{"type": "insecureAcceptAnything"}]}}}`))
			if err != nil {
				t.Fatal(err)
			}
			i, err := NewLocalImage(test.path, test.id, test.hasLayout)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.For(i); got.Reject == test.accepted {
				t.Errorf("%s: got %+v", i, got)
			}
		})
	}
}

// What is required together must hold together.
func TestRequirements(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(newKey(t))
	signed := `{"type": "sigstoreSigned", "keyData": "` + key + `"}`
	for text, want := range map[string]Demands{
		`{"type": "insecureAcceptAnything"}`:                               {},
		`{"type": "reject"}`:                                               {Reject: true},
		`{"type": "insecureAcceptAnything"}, {"type": "reject"}`:           {Reject: true},
		`{"type": "insecureAcceptAnything"}, ` + signed:                    {Signatures: make([]*Signed, 1)},
		signed + `, ` + signed:                                             {Signatures: make([]*Signed, 2)},
		signed + `, {"type": "reject"}, {"type":"insecureAcceptAnything"}`: {Reject: true, Signatures: make([]*Signed, 1)},
	} {
		p, err := LoadImages(policyFile(t, `{"default": [`+text+`]}`))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		i, err := NewImage("alpine")
		if err != nil {
			t.Fatal(err)
		}
		if got := p.For(i); got.Reject != want.Reject || len(got.Signatures) != len(want.Signatures) {
			t.Errorf("%s: got %+v", text, got)
		}
	}
}

// Keys lie beside the policy, or where an absolute path says.
func TestKeyFiles(t *testing.T) {
	file := policyFile(t, `{"default": [{"type": "sigstoreSigned", "keyPaths": ["a.pub", "ELSEWHERE"]}]}`)
	elsewhere := filepath.Join(t.TempDir(), "b.pub")
	for path, content := range map[string]string{
		filepath.Join(filepath.Dir(file), "a.pub"): string(newKey(t)),
		elsewhere: string(newKey(t)),
		file:      `{"default": [{"type": "sigstoreSigned", "keyPaths": ["a.pub", "` + elsewhere + `"]}]}`,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := LoadImages(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.fallback.Signatures[0]; len(got.Keys) != 2 || got.Identity.kind != matchRepoDigestOrExact {
		t.Errorf("got %+v", got)
	}
}

func TestLoadImagesRefuses(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(newKey(t))
	requirement := func(text string) string { return `{"default": [` + text + `]}` }
	signed := func(text string) string { return requirement(`{"type": "sigstoreSigned", ` + text + `}`) }
	withKey := func(text string) string { return signed(`"keyData": "` + key + `", ` + text) }
	identity := func(text string) string { return withKey(`"signedIdentity": ` + text) }
	fulcio := func(text string) string {
		return signed(`"rekorPublicKeyData": "` + key + `", "fulcio": {` + text + `}`)
	}
	scope := func(transport, scope string) string {
		return `{"default": [{"type": "reject"}], "transports": {"` + transport + `": {"` + scope + `": [{"type": "reject"}]}}}`
	}
	for text, message := range map[string]string{
		``:                                    "unexpected EOF",
		`[]`:                                  "no object",
		`null`:                                "no object",
		`{}`:                                  `there is no "default"`,
		`{"default": null}`:                   "requires nothing",
		`{"default": []}`:                     "requires nothing",
		`{"default": {}}`:                     "cannot unmarshal",
		`{"default": [{"type": "reject"}]} x`: "something comes after",
		`{"Default": [{"type": "reject"}]}`:   `"Default": there is no such field`,
		`{"default": [{"type": "reject"}], "default": [{"type": "insecureAcceptAnything"}]}`:          `"default" comes twice`,
		`{"default": [{"type": "reject"}], "transports": null}`:                                       "no object",
		`{"default": [{"type": "reject"}], "transports": {"docker": {}, "docker": {}}}`:               `"docker" comes twice`,
		`{"default": [{"type": "reject"}], "transports": {"docker": {"a": []}}}`:                      `"docker": "a": it requires nothing`,
		`{"default": [{"type": "reject"}`:                                                             "unexpected EOF",
		requirement(`{}`):                                                                             "requirement 1: it has no type",
		requirement(`{"type": 1}`):                                                                    "cannot unmarshal",
		requirement(`{"type": null}`):                                                                 "it is null",
		requirement(`{"type": "accept"}`):                                                             `there is no type "accept"`,
		requirement(`{"type": "reject", "x": 1}`):                                                     `"x": there is no such field`,
		requirement(`{"type": "insecureAcceptAnything", "type": "reject"}`):                           `"type" comes twice`,
		requirement(`{"type": "reject"}, {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "x"}`): "requirement 2: signedBy is not supported",
		requirement(`{"type": "sigstoreSigned"}`):                                                     "one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki is needed",
		signed(`"keyPath": "missing.pub"`):                                                            "no such file",
		signed(`"keyPaths": []`):                                                                      "it lists nothing",
		signed(`"keyDatas": []`):                                                                      "it lists nothing",
		signed(`"keyData": "!"`):                                                                      "illegal base64",
		signed(`"keyData": "eA=="`):                                                                   "public key: ",
		signed(`"keydata": "` + key + `"`):                                                            "there is no such field",
		withKey(`"keyPaths": ["policy.json"]`):                                                        "not keyData and keyPaths",
		withKey(`"rekorPublicKeyData": "` + key + `", "rekorPublicKeyDatas": ["` + key + `"]`):        "not rekorPublicKeyData and rekorPublicKeyDatas",
		withKey(`"rekorPublicKeyData": "eA=="`):                                                       "public key of Rekor",
		signed(`"fulcio": {}`):                                                                        "caPath and caData is needed",
		fulcio(`"caData": "eA=="`):                                                                    "no oidcIssuer",
		fulcio(`"caData": "eA==", "oidcIssuer": "i"`):                                                 "one of subjectEmail, subjectURI and subjectRegExp is needed",
		fulcio(`"caData": "eA==", "oidcIssuer": "i", "subjectEmail": "a", "subjectURI": "b"`):         "not subjectEmail and subjectURI",
		fulcio(`"caData": "eA==", "oidcIssuer": "i", "subjectRegExp": "("`):                           "subjectRegExp: ",
		fulcio(`"caData": "eA==", "oidcIssuer": "i", "subjectEmail": "a"`):                            "certificates: ",
		fulcio(`"caPath": "x", "caData": "eA=="`):                                                     "no such file",
		signed(`"pki": {"caRootsData": "eA=="}`):                                                      "one of subjectEmail and subjectHostname",
		signed(`"pki": {"subjectEmail": "a"}`):                                                        "one of caRootsPath and caRootsData is needed",
		identity(`{}`):                                                                                "it has no type",
		identity(`{"type": "matchAnything"}`):                                                         `there is no type "matchAnything"`,
		identity(`{"type": "matchExact", "prefix": ""}`):                                              "there is no such field",
		identity(`{"type": "exactReference"}`):                                                        "invalid reference",
		identity(`{"type": "exactReference", "dockerReference": "quay.io/a"}`):                        "neither a tag nor a digest",
		identity(`{"type": "exactRepository", "dockerRepository": "quay.io/a:1"}`):                    "is no repository: it has a tag",
		identity(`{"type": "remapIdentity", "prefix": "quay.io", "signedPrefix": "quay.io/a:1"}`):     "no registry, namespace or repository",
		identity(`{"type": "remapIdentity", "prefix": "quay.io"}`):                                    "no registry, namespace or repository",
		scope("docker", "Quay.io/a"):                                                                  "lower case",
		scope("oci", "relative"):                                                                      "no absolute path",
		scope("oci", "/a/../b"):                                                                       "no absolute path",
		scope("oci-archive", "/"):                                                                     `the scope of all paths is ""`,
		scope("docker-archive", "/a"):                                                                 "no scopes",
	} {
		file := policyFile(t, text)
		if _, err := LoadImages(file); err == nil || !strings.Contains(err.Error(), message) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want %q", text, err, message)
		}
	}
	if _, err := LoadImages("/not/there"); err == nil {
		t.Error("a file that is missing is no error")
	}
}

// Whatever passes for a policy decides without a panic.
func FuzzImages(f *testing.F) {
	key := base64.StdEncoding.EncodeToString(newKey(f))
	f.Add([]byte(`{"default": [{"type": "reject"}], "transports": {"docker": {"a": [{"type": "insecureAcceptAnything"}]}}}`), "a/b:1", "a/b")
	f.Add([]byte(`{"default": [{"type": "sigstoreSigned", "keyData": "`+key+`", "signedIdentity": {"type": "remapIdentity", "prefix": "docker.io", "signedPrefix": "b.c"}}]}`), "a:1", "b.c/library/a:1")
	f.Add([]byte(`{"default": [{"type": "sigstoreSigned", "keyPath": "k", "signedIdentity": {"type": "exactRepository", "dockerRepository": "b"}}]}`), "a:1", "b")
	f.Fuzz(func(t *testing.T, data []byte, ref, signed string) {
		p, err := parseImages(data, func(string) ([]byte, error) { return newKey(t), nil })
		if err != nil {
			return
		}
		i, err := NewImage(ref)
		if err != nil {
			return
		}
		d := p.For(i)
		if d == nil {
			t.Fatal("nothing is said of the image")
		}
		for _, s := range d.Signatures {
			if n := len(s.Keys); (n == 0) == (s.Fulcio == nil && s.PKI == nil) {
				t.Errorf("%d keys, %v and %v", n, s.Fulcio, s.PKI)
			}
			if err := s.Identity.Match(i, signed); err == nil && signed == "" && !s.Identity.AnyName() {
				t.Error("a signature for nothing is accepted")
			}
		}
	})
}

// The policy that the documentation shows does what it says there.
func TestDocumentedImagePolicy(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "## Images\n")
	_, text, _ = strings.Cut(text, "```json\n")
	text, _, _ = strings.Cut(text, "```")
	file := policyFile(t, text)
	for name, content := range map[string][]byte{"team.pub": newKey(t), "rekor.pub": newKey(t), "fulcio.pem": newCertificate(t)} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := LoadImages(file)
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"alpine:3": "accept", "busybox:1.36": "reject", "busybox": "accept", "debian/eol": "reject",
		"r.internal.example.com/a": "accept", "quay.io/a": "reject",
		"registry.example.com/team/base:1": "key", "registry.example.com/ci/base:1": "fulcio", "registry.example.com/other": "reject",
	} {
		i, err := NewImage(ref)
		if err != nil {
			t.Fatal(err)
		}
		got := "accept"
		switch d := p.For(i); {
		case d.Reject:
			got = "reject"
		case len(d.Signatures) == 1 && d.Signatures[0].Fulcio != nil:
			got = "fulcio"
		case len(d.Signatures) == 1:
			got = "key"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
}

// newCertificate is a certificate, as files of them have it.
func newCertificate(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}
