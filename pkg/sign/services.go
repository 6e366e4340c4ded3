package sign

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/slipway-build/slipway/pkg/registry"
)

// The public good instance of Sigstore.
const (
	publicFulcio = "https://fulcio.sigstore.dev"
	publicRekor  = "https://rekor.sigstore.dev"
)

// services are those that are used, by their URLs.
type services struct {
	client *registry.Client

	fulcio string   // "" without certificates
	rekor  []string // none without a log
	tsa    []string // none without timestamps
}

// newServices chooses the services.
func newServices(o Options, client *registry.Client) (*services, error) {
	s := &services{client: client}
	var err error
	if o.SigningConfig != "" {
		err = s.configured(o)
	} else {
		s.given(o)
	}
	if err != nil {
		return nil, fmt.Errorf("signing configuration %s: %w", o.SigningConfig, err)
	}
	if o.Tlog != nil && *o.Tlog && len(s.rekor) == 0 {
		return nil, errors.New("signatures are to be logged, and the signing configuration names no log")
	}
	if o.Method == Keyless && len(s.rekor) == 0 && len(s.tsa) == 0 {
		return nil, errors.New("a keyless signature needs proof of its time, for its certificate holds for minutes: a transparency log, or a timestamp authority")
	}
	return s, nil
}

// wantsLog says whether signatures go into a log, where named says that a log is named.
func wantsLog(o Options, named bool) bool {
	if o.Tlog != nil {
		return *o.Tlog
	}
	return o.Method == Keyless || named
}

// given chooses what the URLs say.
func (s *services) given(o Options) {
	if o.Method == Keyless {
		s.fulcio = base(o.FulcioURL, publicFulcio)
	}
	if wantsLog(o, o.RekorURL != "") {
		s.rekor = []string{base(o.RekorURL, publicRekor)}
	}
	if o.TSAURL != "" {
		s.tsa = []string{o.TSAURL}
	}
}

// base is a URL that paths are appended to.
func base(url, otherwise string) string {
	if url == "" {
		url = otherwise
	}
	return strings.TrimRight(url, "/")
}

// configured chooses what a signing configuration says. A signature in the classic format has room for one log and one timestamp.
func (s *services) configured(o Options) error {
	conf, err := root.NewSigningConfigFromPath(o.SigningConfig)
	if err != nil {
		return err
	}
	now := time.Now()
	if o.Method == Keyless {
		ca, err := root.SelectService(conf.FulcioCertificateAuthorityURLs(), sign.FulcioAPIVersions, now)
		if err != nil {
			return fmt.Errorf("certificate authorities: %w", err)
		}
		s.fulcio = base(ca.URL, "")
	}
	choose := func(all []root.Service, conf root.ServiceConfiguration, versions []uint32) ([]string, error) {
		if len(all) == 0 {
			return nil, nil
		}
		chosen, err := root.SelectServices(all, conf, versions, now)
		if o.Format == Signature && len(chosen) > 1 {
			chosen = chosen[:1]
		}
		var urls []string
		for _, c := range chosen {
			urls = append(urls, c.URL)
		}
		return urls, err
	}
	if logs := conf.RekorLogURLs(); wantsLog(o, len(logs) > 0) {
		if s.rekor, err = choose(logs, conf.RekorLogURLsConfig(), []uint32{1}); err != nil {
			return fmt.Errorf("logs: %w", err)
		}
	}
	if s.tsa, err = choose(conf.TimestampAuthorityURLs(), conf.TimestampAuthorityURLsConfig(), sign.TimestampAuthorityAPIVersions); err != nil {
		return fmt.Errorf("timestamp authorities: %w", err)
	}
	return nil
}

// timestampAuthorities are those for one signature.
func (s *services) timestampAuthorities(ctx context.Context) []*sign.TimestampAuthority {
	var all []*sign.TimestampAuthority
	for _, url := range s.tsa {
		transport := newService(ctx, s.client, "the timestamp authority", url)
		transport.mediaType = "application/timestamp-reply"
		all = append(all, sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: url, Timeout: serviceTimeout, Transport: transport}))
	}
	return all
}

// logs are those for one signature.
func (s *services) logs(ctx context.Context) []sign.Transparency {
	var all []sign.Transparency
	for _, url := range s.rekor {
		all = append(all, sign.NewRekor(&sign.RekorOptions{BaseURL: url, Timeout: serviceTimeout, Client: newRekor(ctx, s.client, url)}))
	}
	return all
}
