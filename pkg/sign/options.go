// Package sign signs images, and statements about them, as cosign and the programs that verify with it expect them: with a key, or
// keyless with the identity of a workload, in either of cosign's two formats.
//
// Everything is signed by digest. What is signed already stays signed: signatures are added to those that there are. That is a
// read and a write; who signs the same digest in another process at the same moment, in a registry that keeps the list in a tag,
// can lose a signature, as with cosign. One Signer is safe for concurrent use.
package sign

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Method is what is signed with.
type Method string

// The methods.
const (
	None    Method = "none"
	Key     Method = "key"     // a private key that the user has
	Keyless Method = "keyless" // a key of the moment, which Fulcio certifies for an identity token
)

// Format is where and how signatures are stored.
type Format string

// The formats.
const (
	// Signature is the classic one: the tags sha256-….sig and sha256-….att, with a list of signatures each.
	Signature Format = "signature"
	// Bundle is Sigstore's bundle in a manifest that refers to the image, as OCI 1.1 defines it; where the registry has no API
	// for those, the tag sha256-… lists them.
	Bundle Format = "bundle"
)

// Options say how to sign.
type Options struct {
	Method Method

	// Key is the private key, as "cosign generate-key-pair" makes it: a file, a directory with cosign.key and cosign.password, as a
	// mounted Secret of Kubernetes is one, or env://NAME. The password is in cosign.password beside the key, else in
	// COSIGN_PASSWORD, else empty.
	Key string

	// Tlog says whether signatures are entered into Rekor's log, which is public or at least permanent. Nil is yes for Keyless, whose
	// signatures need the entry as proof of their time; for Key it is yes if RekorURL or a SigningConfig with a log is given.
	// Thus no digest gets from a private build into the public log without somebody asking for it.
	Tlog *bool

	// FulcioURL and RekorURL are the services; "" stands for those of the public good instance. TSAURL is the whole URL of a
	// timestamp authority (RFC 3161); "" is none.
	FulcioURL, RekorURL, TSAURL string
	// SigningConfig is a file that names the services instead (signing_config.v0.2.json).
	SigningConfig string
	// TrustedRoot is a file with the services' keys and certificates (trusted_root.json). With it, each signature is verified before
	// it is stored.
	TrustedRoot string

	// IdentityToken is a file with an identity token for Keyless; "" looks where the environment has one (see tokenSources).
	IdentityToken string

	// Annotations are signed with each image. They are not part of attestations.
	Annotations map[string]string

	// Format is Signature if it is "".
	Format Format

	// Log gets a line for each thing that was signed; nil drops them.
	Log func(line string)
}

// Wanted reports whether anything is to be signed.
func (o *Options) Wanted() bool { return o.Method != "" && o.Method != None }

// withDefaults checks the options and fills in what they leave open.
func (o Options) withDefaults() (Options, error) {
	if o.Format == "" {
		o.Format = Signature
	}
	if o.Log == nil {
		o.Log = func(string) {}
	}
	switch {
	case o.Method != Key && o.Method != Keyless:
		return o, fmt.Errorf("there is no way of signing %q: it is %s or %s", o.Method, Key, Keyless)
	case o.Format != Signature && o.Format != Bundle:
		return o, fmt.Errorf("there is no format %q of signatures: it is %s or %s", o.Format, Signature, Bundle)
	case o.Method == Key && o.Key == "":
		return o, errors.New("signing with a key needs one: a file, a directory with cosign.key, or env://NAME")
	case o.Method == Keyless && o.Key != "":
		return o, errors.New("a key is given, and signing is to be keyless: it is one or the other")
	case o.Method == Key && o.IdentityToken != "":
		return o, errors.New("an identity token is given, and signing is to be with a key: it is one or the other")
	case o.Method == Key && o.FulcioURL != "":
		return o, errors.New("a URL of Fulcio is given, which certifies no keys that one has: that is for keyless signing")
	case o.SigningConfig != "" && (o.FulcioURL != "" || o.RekorURL != "" || o.TSAURL != ""):
		return o, errors.New("the services are named by a signing configuration, or by URLs, and not by both")
	case slices.Contains(slices.Collect(maps.Keys(o.Annotations)), ""):
		return o, errors.New("an annotation has no key")
	}
	for name, address := range map[string]string{"Fulcio": o.FulcioURL, "Rekor": o.RekorURL, "the timestamp authority": o.TSAURL} {
		if err := checkURL(name, address); err != nil {
			return o, err
		}
	}
	return o, nil
}

func checkURL(name, address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("the URL of %s is malformed", name) // the error would show it, with a password in it
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("the URL of %s is not of the form https://HOST", name)
	}
	if u.User != nil || strings.ContainsAny(address, "\n\r") {
		return fmt.Errorf("the URL of %s has a user in it, which is not supported", name)
	}
	return nil
}
