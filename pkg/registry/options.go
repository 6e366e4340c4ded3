package registry

import (
	"fmt"
	"time"

	"github.com/slipway-build/slipway/pkg/credentials"
	"github.com/slipway-build/slipway/pkg/state"
)

// Options configure a [Client]. The zero value pulls anonymously, over verified TLS, or plain HTTP on loopback.
type Options struct {
	// Credentials are tried in their order, and after them none; nil has none.
	Credentials credentials.Source
	// UserAgent is how requests introduce themselves, "slipway/v1.2.3".
	UserAgent string
	// Pull and Push hold for all registries, by direction.
	Pull, Push Access
	// Hosts holds for single registries, by the host[:port] that references are written
	// with, in both directions.
	Hosts map[string]Host
	// Mirrors are read in place of registries, in their order, when images are pulled: by registry, each as
	// host[:port][/prefix]. The registry itself comes after them, unless MirrorsOnly is set.
	Mirrors     map[string][]string
	MirrorsOnly bool
	// KeepTags leaves a tag that exists, and that its registry does not let be changed, as it is.
	KeepTags bool
	// CAFiles hold PEM certificates that are trusted for all registries, beside the system's.
	CAFiles []string
	// Layouts are local images by the store name that oci-layout references use: the
	// path of an OCI layout directory, of a tar of one, or of a docker-save tar.
	Layouts map[string]string
	// WarmDir is a directory of base images, as "slipway cache warm" keeps it, that is read
	// before registries; "" for none.
	WarmDir string
	// Retry is how often and how fast failed requests are tried again.
	Retry Retry
	// State keeps fetched blobs and the indexes of layers.
	State *state.Dir
	// Warn takes one-line notes that a user should see, such as a wait that a registry
	// asked for; nil drops them.
	Warn func(message string)
}

// Access is how connections may be made.
type Access struct {
	// PlainHTTP allows unencrypted HTTP where HTTPS does not answer.
	PlainHTTP bool
	// SkipTLSVerify accepts any certificate.
	SkipTLSVerify bool
	// Repeats is how often failed requests are repeated at least, whatever Retry says.
	Repeats int
}

// Host is what is special about one registry.
type Host struct {
	Access
	// CAFile holds PEM certificates that are trusted beside the system's.
	CAFile string
	// CertFile and KeyFile are a PEM client certificate; both or none.
	CertFile, KeyFile string
}

// Retry bounds how failed requests are repeated. Zero fields stand for the defaults.
type Retry struct {
	// Attempts is how often a request is made altogether; by default 5.
	Attempts int
	// Base is the wait after the first failure, by default 500 ms; it doubles with each
	// further one. Half of each wait is random, so that many builds that failed at one
	// moment do not all come back at one moment.
	Base time.Duration
	// Max is the longest wait, by default 60 s. A registry that asks (Retry-After)
	// for a longer one is not waited for.
	Max time.Duration
}

func (r Retry) withDefaults() Retry {
	if r.Attempts < 1 {
		r.Attempts = 5
	}
	if r.Base <= 0 {
		r.Base = 500 * time.Millisecond
	}
	if r.Max <= 0 {
		r.Max = time.Minute
	}
	return r
}

// forAccess is r with the repetitions that are wanted for a direction.
func (r Retry) forAccess(a Access) Retry {
	r.Attempts = max(r.Attempts, a.Repeats+1)
	return r
}

func (o *Options) validate() error {
	for host, h := range o.Hosts {
		if (h.CertFile == "") != (h.KeyFile == "") {
			return fmt.Errorf("registry %s: a client certificate needs both a certificate and a key file", host)
		}
	}
	return nil
}
