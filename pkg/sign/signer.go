package sign

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/types"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/slipway-build/slipway/pkg/registry"
)

// Signer signs what registries have.
type Signer struct {
	opts     Options
	client   *registry.Client
	services *services
	trusted  root.TrustedMaterial // nil if nothing is to be verified
	store    store

	holder holder
	// verifier is for signatures of the same key; nil where each signature has a key of its own.
	verifier signature.Verifier

	subjects sync.Map // *sync.Mutex by the digest whose list of signatures is being changed
}

// holder has what is signed with.
type holder interface {
	// credential is for one signature, and good for some minutes.
	credential(ctx context.Context) (*credential, error)
	// String is whose signature it is, for people.
	String() string
}

// credential is a key, and if it was made for the occasion, its certificate.
type credential struct {
	keypair sign.Keypair
	leaf    []byte // DER
	chain   []byte // PEM of the certificates above the leaf
}

// store keeps signatures in a registry.
type store interface {
	// has reports whether there is a signature over payload that accept takes.
	has(ctx context.Context, subject name.Digest, c claim) (bool, error)
	// add adds one to those that there are.
	add(ctx context.Context, subject name.Digest, s *signed) error
	// imageClaim is what says that an image is signed.
	imageClaim(subject name.Digest, annotations map[string]string) (claim, error)
}

// claim is what is signed.
type claim struct {
	// payload is signed as it is, or if there is a predicate type, as a DSSE envelope around it.
	payload       []byte
	predicateType string
}

func (c claim) isStatement() bool { return c.predicateType != "" }

func (c claim) digest() v1.Hash {
	sum := sha256.Sum256(c.payload)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

func (c claim) content() sign.Content {
	if c.isStatement() {
		return &sign.DSSEData{Data: c.payload, PayloadType: types.IntotoPayloadType}
	}
	return &sign.PlainData{Data: c.payload}
}

// signed is a claim with its signature.
type signed struct {
	claim
	bundle *protobundle.Bundle
	// leaf and chain are the certificates as PEM; of a key there are none.
	leaf, chain []byte
}

// New reads the key, or finds the identity token, and says so at once if it is not usable. The URLs are not contacted, but for that of
// a service that gives out identity tokens. The client is how registries and services are spoken to.
func New(ctx context.Context, o Options, client *registry.Client) (*Signer, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Signer{opts: o, client: client}
	if s.services, err = newServices(o, client); err != nil {
		return nil, err
	}
	if o.TrustedRoot != "" {
		if s.trusted, err = root.NewTrustedRootFromPath(o.TrustedRoot); err != nil {
			return nil, fmt.Errorf("reading the trusted root: %w", err)
		}
	}
	if o.Method == Key {
		key, err := readKey(o.Key)
		if err != nil {
			return nil, err
		}
		if err := key.checkLog(); err != nil && len(s.services.rekor) > 0 {
			return nil, err
		}
		s.holder, s.verifier, s.trusted = key, key.SignerVerifier, key.trustedWith(s.trusted)
	} else {
		identity, err := newIdentity(ctx, o, s.services, client)
		if err != nil {
			return nil, err
		}
		s.holder = identity
	}
	lender := &lender{client: client, verifier: s.verifier, services: s.services}
	if o.Format == Bundle {
		s.store = &referrers{lender}
	} else {
		s.store = &tags{lender}
	}
	return s, nil
}

// String says who signs.
func (s *Signer) String() string { return s.holder.String() }

// Sign signs an image or index, which must be in its registry already. What has the same signature of the same key is left as it is.
func (s *Signer) Sign(ctx context.Context, subject name.Digest) error {
	c, err := s.store.imageClaim(subject, s.opts.Annotations)
	if err == nil {
		err = s.make(ctx, subject, c)
	}
	if err != nil {
		return fmt.Errorf("signing %s: %w", subject, err)
	}
	return nil
}

// Attest signs an in-toto statement in JSON about an image or index, and stores it with that. The image must be among the
// statement's subjects.
func (s *Signer) Attest(ctx context.Context, subject name.Digest, statement []byte) error {
	c, err := statementClaim(subject, statement)
	if err == nil {
		err = s.make(ctx, subject, c)
	}
	if err != nil {
		return fmt.Errorf("attesting %s: %w", subject, err)
	}
	return nil
}

// statementClaim checks that a statement is one, about this image.
func statementClaim(subject name.Digest, statement []byte) (claim, error) {
	var s struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"`
		Subject       []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(statement, &s); err != nil {
		return claim{}, fmt.Errorf("the statement is not JSON: %w", err)
	}
	if !strings.HasPrefix(s.Type, "https://in-toto.io/Statement/") || s.PredicateType == "" {
		return claim{}, errors.New("this is no in-toto statement")
	}
	algorithm, sum, _ := strings.Cut(subject.DigestStr(), ":")
	for _, about := range s.Subject {
		if about.Digest[algorithm] == sum {
			return claim{statement, s.PredicateType}, nil
		}
	}
	return claim{}, errors.New("the statement is about something else")
}

// make signs a claim and stores it.
func (s *Signer) make(ctx context.Context, subject name.Digest, c claim) error {
	mutex, _ := s.subjects.LoadOrStore(subject.String(), &sync.Mutex{})
	mutex.(*sync.Mutex).Lock()
	defer mutex.(*sync.Mutex).Unlock()
	what := "signed "
	if c.isStatement() {
		what = "signed a statement (" + c.predicateType + ") about "
	}
	if s.verifier != nil {
		if there, err := s.store.has(ctx, subject, c); err != nil {
			return err
		} else if there {
			s.opts.Log(subject.String() + " has this signature of " + s.String() + " already")
			return nil
		}
	}
	made, err := s.sign(ctx, c)
	if err != nil {
		return err
	}
	if err := s.store.add(ctx, subject, made); err != nil {
		return err
	}
	s.opts.Log(what + subject.String() + " as " + s.String() + logged(made.bundle))
	return nil
}

// logged says where in the transparency log a signature is.
func logged(b *protobundle.Bundle) string {
	var where strings.Builder
	for _, e := range b.GetVerificationMaterial().GetTlogEntries() {
		fmt.Fprintf(&where, ", entry %d of the transparency log", e.GetLogIndex())
	}
	return where.String()
}

// sign makes a signature, with all that belongs to it.
func (s *Signer) sign(ctx context.Context, c claim) (*signed, error) {
	with, err := s.holder.credential(ctx)
	if err != nil {
		return nil, err
	}
	o := sign.BundleOptions{Context: ctx, TransparencyLogs: s.services.logs(ctx), TrustedRoot: s.trusted}
	if with.leaf != nil {
		o.CertificateProvider = certificate(with.leaf)
	}
	if s.opts.Format == Bundle {
		o.TimestampAuthorities = s.services.timestampAuthorities(ctx)
	}
	b, err := sign.Bundle(c.content(), with.keypair, o)
	if err != nil {
		return nil, plain(ctx, err)
	}
	made := &signed{claim: c, bundle: b, chain: with.chain}
	if with.leaf != nil {
		made.leaf = encodeCertificate(with.leaf)
	}
	return made, nil
}

// plain takes the words of libraries away from around the error of a service, which says everything itself.
func plain(ctx context.Context, err error) error {
	var service *ServiceError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &service):
		return service
	}
	return err
}

// simpleSigning is the classic claim that an image is signed.
func simpleSigning(subject name.Digest, annotations map[string]string) (claim, error) {
	p := payload.Cosign{Image: subject}
	if len(annotations) > 0 {
		p.Annotations = map[string]any{}
		for k, v := range annotations {
			p.Annotations[k] = v
		}
	}
	raw, err := p.MarshalJSON()
	return claim{payload: raw}, err
}

// imageStatement is the same claim as a statement, which bundles have.
func imageStatement(subject name.Digest, annotations map[string]string) (claim, error) {
	type resource struct {
		Digest      map[string]string `json:"digest"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	algorithm, sum, _ := strings.Cut(subject.DigestStr(), ":")
	raw, err := json.Marshal(struct {
		Type          string     `json:"_type"`
		Subject       []resource `json:"subject"`
		PredicateType string     `json:"predicateType"`
	}{statementType, []resource{{map[string]string{algorithm: sum}, annotations}}, types.CosignSignPredicateType})
	return claim{raw, types.CosignSignPredicateType}, err
}

// statementType is the version of in-toto's statements that we make.
const statementType = "https://in-toto.io/Statement/v1"
