package sign

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/slipway-build/slipway/pkg/registry"
)

// identity signs with keys of the moment, which Fulcio certifies for what an identity token says.
type identity struct {
	client *registry.Client
	fulcio string
	tokens *tokens

	mu    sync.Mutex
	have  *credential
	until time.Time // when the certificate ends
}

// newIdentity finds a token.
func newIdentity(ctx context.Context, o Options, s *services, client *registry.Client) (*identity, error) {
	tokens := newTokens(client, o.IdentityToken)
	if _, err := tokens.get(ctx); err != nil {
		return nil, err
	}
	return &identity{client: client, fulcio: s.fulcio, tokens: tokens}, nil
}

// String implements holder.
func (i *identity) String() string { return i.tokens.String() }

// certificateReserve is what a certificate must still hold for to be used: signing and entering the signature into the log take time.
const certificateReserve = 2 * time.Minute

// credential implements holder. Signatures that are made soon after each other share a key and its certificate.
func (i *identity) credential(ctx context.Context) (*credential, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.have != nil && time.Until(i.until) > certificateReserve {
		return i.have, nil
	}
	token, err := i.tokens.get(ctx)
	if err != nil {
		return nil, err
	}
	pair, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	i.have, i.until, err = i.certify(ctx, pair, token)
	return i.have, err
}

// certify asks Fulcio for a certificate.
func (i *identity) certify(ctx context.Context, pair *sign.EphemeralKeypair, token string) (*credential, time.Time, error) {
	c := &credential{keypair: pair}
	transport := newService(ctx, i.client, "Fulcio", i.fulcio)
	transport.mediaType = jsonType
	var chainErr error
	transport.answered = func(body []byte) { c.chain, chainErr = chainAbove(body) } // the library gives the leaf only
	authority := sign.NewFulcio(&sign.FulcioOptions{BaseURL: i.fulcio, Timeout: serviceTimeout, Transport: transport})
	leaf, err := authority.GetCertificate(ctx, pair, &sign.CertificateProviderOptions{IDToken: token})
	if err = errors.Join(err, chainErr); err != nil {
		return nil, time.Time{}, plain(ctx, fmt.Errorf("asking Fulcio (%s): %w", i.fulcio, err))
	}
	cert, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("the certificate from Fulcio: %w", err)
	}
	if public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(pair.GetPublicKey()) {
		return nil, time.Time{}, errors.New("the certificate from Fulcio is for another key than it was asked for")
	}
	c.leaf = leaf
	return c, cert.NotAfter, nil
}

// chainAbove takes the certificates above the leaf from Fulcio's answer, as PEM.
func chainAbove(answer []byte) ([]byte, error) {
	type chain struct {
		Chain struct {
			Certificates []string `json:"certificates"`
		} `json:"chain"`
	}
	var a struct {
		Embedded chain `json:"signedCertificateEmbeddedSct"`
		Detached chain `json:"signedCertificateDetachedSct"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return nil, fmt.Errorf("its answer: %w", err)
	}
	all := a.Embedded.Chain.Certificates
	if len(all) == 0 {
		all = a.Detached.Chain.Certificates
	}
	var above strings.Builder
	for n, c := range all {
		if n > 0 {
			above.WriteString(strings.TrimRight(c, "\n") + "\n")
		}
	}
	return []byte(above.String()), nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// certificate gives a certificate that is there already to whoever asks for one.
type certificate []byte

// GetCertificate implements sign.CertificateProvider.
func (c certificate) GetCertificate(context.Context, sign.Keypair, *sign.CertificateProviderOptions) ([]byte, error) {
	return c, nil
}
