package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	memory "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/internal/testbase/cosigned"
	"github.com/slipway-build/slipway/internal/testbase/sigstore"
	"github.com/slipway-build/slipway/pkg/sign"
)

// signingOptions parses the flags for signing as a command does.
func signingOptions(t *testing.T, args ...string) (o sign.Options, err error) {
	t.Helper()
	app := newApp(nil, &strings.Builder{}, &strings.Builder{})
	app.Command("sign").Action = func(c *cli.Context) error {
		o, err = signOptions(c, sign.None)
		return nil
	}
	args, normErr := normalizeArgs(app, slices.Concat([]string{"slipway", "sign"}, args))
	if normErr != nil {
		t.Fatal(normErr)
	}
	if runErr := app.Run(args); runErr != nil {
		t.Fatal(runErr)
	}
	return o, err
}

func TestSignOptions(t *testing.T) {
	o, err := signingOptions(t, "--sign=keyless", "--sign-key=", "--sign-format", "bundle", "--tlog=false", "--sign-annotation", "a=1,b=2", "--sign-annotation=c=",
		"--fulcio-url", "f", "--rekor-url", "r", "--tsa-url", "s", "--signing-config", "conf", "--trusted-root", "root", "--identity-token-file", "token")
	if err != nil {
		t.Fatal(err)
	}
	if o.Method != sign.Keyless || o.Key != "" || o.Format != sign.Bundle || o.Tlog == nil || *o.Tlog || len(o.Annotations) != 2 || o.Annotations["a"] != "1,b=2" ||
		o.FulcioURL != "f" || o.RekorURL != "r" || o.TSAURL != "s" || o.SigningConfig != "conf" || o.TrustedRoot != "root" || o.IdentityToken != "token" {
		t.Errorf("got %+v", o)
	}
	o, err = signingOptions(t, "--tlog=", "--sign=", "image", "--sign-annotations", "a=1", "b=2")
	if err != nil || o.Method != sign.None || o.Format != sign.Signature || o.Tlog != nil || o.Annotations["b"] != "2" {
		t.Errorf("got %+v, %v", o, err)
	}
	for want, args := range map[string][]string{
		"not one of none, key, keyless":  {"--sign=cosign"},
		"not one of signature, bundle":   {"--sign-format=x"},
		"is not of the form KEY=VALUE":   {"--sign-annotation=x"},
		`"=x" is not of the form KEY=VA`: {"--sign-annotation==x"},
	} {
		if _, err := signingOptions(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", args, err, want)
		}
	}
}

// pushIndex pushes an index of two images, and one of BuildKit's attestations, and gives their digests, that of the index first.
func pushIndex(t *testing.T, tag string) []name.Digest {
	t.Helper()
	ref, err := name.ParseReference(tag)
	check(t, err)
	var (
		index v1.ImageIndex = empty.Index
		all   []name.Digest
	)
	for _, p := range []v1.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64"}, {OS: "unknown", Architecture: "unknown"}} {
		img, err := random.Image(100, 1)
		check(t, err)
		digest, err := img.Digest()
		check(t, err)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &p}})
		all = append(all, ref.Context().Digest(digest.String()))
	}
	check(t, remote.WriteIndex(ref, index))
	digest, err := index.Digest()
	check(t, err)
	return append([]name.Digest{ref.Context().Digest(digest.String())}, all...)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// signingKey makes a directory with a key, and what verifies it.
func signingKey(t *testing.T) (string, *cosign.CheckOpts) {
	t.Helper()
	key := cosigned.NewKeyPair(t)
	return key.Dir(t), &cosign.CheckOpts{SigVerifier: key.Verifier, IgnoreTlog: true, Offline: true, ClaimVerifier: cosign.SimpleClaimVerifier}
}

// slipway runs a command line, and gives its exit code and what it wrote to standard error.
func slipway(t *testing.T, stdin string, args ...string) (int, string) {
	t.Helper()
	var stderr strings.Builder
	code := run(append([]string{"slipway"}, args...), strings.NewReader(stdin), io.Discard, &stderr)
	return code, stderr.String()
}

func serveRegistry(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(memory.New(memory.WithReferrersSupport(true), memory.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// An index is signed together with its images, but not with the attestations in it, or alone.
func TestSignIndex(t *testing.T) {
	host := serveRegistry(t)
	key, verifies := signingKey(t)
	for flag, want := range map[string][]bool{"--recursive": {true, true, true, false}, "--recursive=false": {true, false, false, false}} {
		tag := host + "/app:1"
		digests := pushIndex(t, tag)
		code, said := slipway(t, "", "sign", "--sign-key", key, tag, flag)
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, said)
		}
		for i, d := range digests {
			_, _, err := cosign.VerifyImageSignatures(context.Background(), d, verifies)
			if (err == nil) != want[i] {
				t.Errorf("%s: manifest %d is signed: %v, want %v", flag, i, err, want[i])
			}
			if told := strings.Contains(said, "signed "+d.String()+" as key SHA256:"); told != want[i] {
				t.Errorf("%s: it says of manifest %d that it is signed: %v:\n%s", flag, i, told, said)
			}
		}
	}
}

// Statements of the types that cosign knows verify with it, from a file or standard input, and keep what they say.
func TestAttestTypes(t *testing.T) {
	host := serveRegistry(t)
	key, verifies := signingKey(t)
	verifies.ClaimVerifier = cosign.IntotoSubjectClaimVerifier
	for kind, c := range map[string]struct{ predicate, uri, want string }{
		"custom":                 {"any text", "https://cosign.sigstore.dev/attestation/v1", `"Data":"any text"`},
		"spdx":                   {"SPDXVersion: SPDX-2.3\n", "https://spdx.dev/Document", `"predicate":"SPDXVersion: SPDX-2.3\n"`},
		"spdxjson":               {`{"spdxVersion":"SPDX-2.3","of":12345678901234567890}`, "https://spdx.dev/Document", `"predicate":{"spdxVersion":"SPDX-2.3","of":12345678901234567890}`},
		"cyclonedx":              {`{"bomFormat":"CycloneDX"}`, "https://cyclonedx.org/bom", `{"bomFormat":"CycloneDX"}`},
		"slsaprovenance1":        {`{"buildDefinition":{},"runDetails":{}}`, "https://slsa.dev/provenance/v1", `"buildDefinition"`},
		"https://example.com/ok": {`{"ok":true}`, "https://example.com/ok", `{"ok":true}`},
	} {
		digests := pushIndex(t, host+"/app:1")
		if code, said := slipway(t, c.predicate, "attest", "--sign-key", key, "--type", kind, "--predicate", "-", host+"/app:1"); code != 0 {
			t.Fatalf("%s: exit code %d: %s", kind, code, said)
		}
		found, _, err := cosign.VerifyImageAttestations(context.Background(), digests[0], verifies)
		check(t, err)
		if _, _, err := cosign.VerifyImageAttestations(context.Background(), digests[1], verifies); err == nil {
			t.Errorf("%s: it was stated of the images in the index, too", kind)
		}
		payload, err := found[0].Payload()
		check(t, err)
		var envelope struct{ Payload []byte }
		check(t, json.Unmarshal(payload, &envelope))
		statement := string(envelope.Payload)
		if !strings.Contains(statement, c.want) || !strings.Contains(statement, `"predicateType":"`+c.uri+`"`) {
			t.Errorf("%s: the statement is %s", kind, statement)
		}
	}
}

// Mistakes give exit code 2, and say what is wrong; a service that is down gives 75, one that refuses 1.
func TestSignFailures(t *testing.T) {
	host := serveRegistry(t)
	pushIndex(t, host+"/app:1")
	services := sigstore.Serve(t)
	key, _ := signingKey(t)
	token := filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(token, []byte(services.Token(t, "ci", "builder", time.Hour)), 0o600))
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no image":            {[]string{"sign", "--sign-key", key}, exitUsage, "say which image"},
		"no key":              {[]string{"sign", "--sign-key", "/does/not/exist", host + "/app:1"}, exitUsage, "no such file"},
		"KMS":                 {[]string{"sign", "--sign-key", "awskms:///alias/x", host + "/app:1"}, exitUsage, "not built in"},
		"none":                {[]string{"sign", "--sign=none", host + "/app:1"}, exitUsage, "nothing to do"},
		"no token":            {[]string{"sign", "--identity-token-file", "/does/not/exist", host + "/app:1"}, exitUsage, "no such file"},
		"no predicate":        {[]string{"attest", "--sign-key", key, host + "/app:1"}, exitUsage, "--predicate"},
		"predicate not JSON":  {[]string{"attest", "--sign-key", key, "--type=cyclonedx", "--predicate=-", host + "/app:1"}, exitUsage, "not JSON"},
		"no such type":        {[]string{"attest", "--sign-key", key, "--type=sbom", "--predicate=-", host + "/app:1"}, exitUsage, "no type of predicate"},
		"annotated statement": {[]string{"attest", "--sign-key", key, "--sign-annotation=a=b", "--predicate=-", host + "/app:1"}, exitUsage, "--sign-annotation"},
		"no such image":       {[]string{"sign", "--sign-key", key, host + "/missing:1"}, exitFailure, "missing"},
		"log is down":         {[]string{"sign", "--sign-key", key, "--rekor-url", "http://127.0.0.1:1", host + "/app:1"}, exitTransient, "Rekor (http://127.0.0.1:1)"},
		"token is refused": {
			[]string{"sign", "--identity-token-file", token, "--fulcio-url", sigstore.Serve(t).FulcioURL, "--rekor-url", services.RekorURL, host + "/app:1"}, exitFailure, "401 Unauthorized",
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, said := slipway(t, "not JSON", c.args...)
			if code != c.code || !strings.Contains(said, c.want) {
				t.Errorf("exit code %d, want %d, and: %s", code, c.code, said)
			}
		})
	}
}
