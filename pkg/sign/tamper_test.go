package sign_test

import (
	"bytes"
	"encoding/base64"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	ociremote "github.com/sigstore/cosign/v2/pkg/oci/remote"
	"github.com/sigstore/cosign/v2/pkg/types"

	"github.com/slipway-build/slipway/internal/testbase/sigstore"
	"github.com/slipway-build/slipway/pkg/sign"
)

// forgery changes what is stored of a signature: its content, and what is written beside it.
type forgery func(content []byte, annotations map[string]string) []byte

// forge stores a changed copy of what was signed about an image as being about another one, or about the same.
func forge(t *testing.T, from, to name.Digest, format sign.Format, statement bool, change forgery) {
	t.Helper()
	if format == sign.Bundle {
		index, err := remote.Referrers(from)
		check(t, err)
		list, err := index.IndexManifest()
		check(t, err)
		for _, d := range list.Manifests {
			content, _ := contentOf(t, from.Context().Digest(d.Digest.String()))
			check(t, ociremote.WriteAttestationNewBundleFormat(to, change(content, nil), types.CosignSignPredicateType))
		}
		return
	}
	tag := ociremote.SignatureTag
	if statement {
		tag = ociremote.AttestationTag
	}
	source, err := tag(from)
	check(t, err)
	target, err := tag(to)
	check(t, err)
	content, layer := contentOf(t, source)
	annotations := maps.Clone(layer.Annotations)
	content = change(content, annotations)
	forged, err := mutate.Append(empty.Image, mutate.Addendum{Layer: static.NewLayer(content, layer.MediaType), Annotations: annotations})
	check(t, err)
	check(t, remote.Write(target, forged))
}

// contentOf is the only layer of an image.
func contentOf(t *testing.T, ref name.Reference) ([]byte, v1.Descriptor) {
	t.Helper()
	img, err := remote.Image(ref)
	check(t, err)
	m, err := img.Manifest()
	check(t, err)
	layers, err := img.Layers()
	check(t, err)
	r, err := layers[0].Compressed()
	check(t, err)
	content, err := io.ReadAll(r)
	check(t, err)
	check(t, r.Close())
	return content, m.Layers[0]
}

// What was changed after it had been signed is not accepted, nor is what was signed about something else.
func TestTampering(t *testing.T) {
	services := sigstore.Serve(t)
	host := withReferrers(t)
	same := func(content []byte, _ map[string]string) []byte { return content }
	for name, change := range map[string]forgery{
		"nothing": same,
		"subject": same,
		"signature": func(content []byte, annotations map[string]string) []byte {
			if sig := annotations["dev.cosignproject.cosign/signature"]; sig != "" {
				annotations["dev.cosignproject.cosign/signature"] = flip(t, sig)
				return content
			}
			_, rest, ok := strings.Cut(string(content), `"sig":"`)
			sig, _, ended := strings.Cut(rest, `"`)
			if !ok || !ended {
				t.Fatalf("no signature in %s", content)
			}
			return bytes.Replace(content, []byte(sig), []byte(flip(t, sig)), 1)
		},
		"content": func(content []byte, _ map[string]string) []byte {
			if _, rest, ok := strings.Cut(string(content), `"payload":"`); ok {
				payload, _, _ := strings.Cut(rest, `"`)
				raw, err := base64.StdEncoding.DecodeString(payload)
				check(t, err)
				changed := base64.StdEncoding.EncodeToString(append(raw, ' '))
				return bytes.Replace(content, []byte(payload), []byte(changed), 1)
			}
			return append(content, ' ')
		},
	} {
		for _, format := range formats() {
			for _, isStatement := range []bool{false, true} {
				kind := map[bool]string{false: "image", true: "statement"}[isStatement]
				t.Run(name+"/"+string(format)+"/"+kind, func(t *testing.T) {
					signed, other := image(t, host+"/app"), image(t, host+"/app")
					o := keyless(t, services)
					o.Format = format
					s, verifies := signer(t, o), verify
					if isStatement {
						verifies = verifyStatements
						check(t, s.Attest(t.Context(), signed, statement(signed, "x")))
					} else {
						check(t, s.Sign(t.Context(), signed))
					}
					if _, err := verifies(t.Context(), signed, format, byIdentity(t, services)); err != nil {
						t.Fatal(err)
					}
					about := copied(t, signed, host+"/copy")
					if name == "subject" {
						about = other
					}
					forge(t, signed, about, format, isStatement, change)
					if _, err := verifies(t.Context(), about, format, byIdentity(t, services)); (err == nil) != (name == "nothing") {
						t.Errorf("got %v", err)
					}
				})
			}
		}
	}
}

// copied is the same image in another repository, where nobody has signed it.
func copied(t *testing.T, from name.Digest, repository string) name.Digest {
	t.Helper()
	repo, err := name.NewRepository(repository)
	check(t, err)
	img, err := remote.Image(from)
	check(t, err)
	to := repo.Digest(from.DigestStr())
	check(t, remote.Write(to, img))
	return to
}

// flip changes one bit of something in base64.
func flip(t *testing.T, encoded string) string {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(encoded)
	check(t, err)
	raw[len(raw)-1] ^= 1
	return base64.StdEncoding.EncodeToString(raw)
}
