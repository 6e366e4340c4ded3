package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Kind says what class of failure an [Error] is.
type Kind uint8

// The kinds of errors.
const (
	Other          Kind = iota
	Unauthorized        // no, wrong or insufficient credentials
	NotFound            // no such image, tag or blob; where registries hide what one may not see, also that
	RateLimited         // too many requests
	Transient           // server errors, broken connections, timeouts: worth a retry
	Unreachable         // the registry's name does not exist
	Untrusted           // its certificate is not trusted, or it speaks no TLS
	DigestMismatch      // content is not what its digest says
	NoPlatform          // the image does not exist for the platform
	Unsupported         // something that we do not read or write
	Invalid             // malformed references, manifests and configs
)

// Error is a failure to read from or write to a registry or layout.
type Error struct {
	Op   string // what was being done: "resolving base image"
	Ref  string // to what
	Kind Kind
	Err  error
}

// Error implements error: what was being done, why it failed, and what to do.
func (e *Error) Error() string {
	// Registries' own messages are passed on, on one line whatever they contain.
	s := fmt.Sprintf("%s %s: %s", e.Op, e.Ref, strings.Join(strings.Fields(fmt.Sprint(e.Err)), " "))
	if advice := e.advice(); advice != "" {
		s += " (" + advice + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the whole build is worth another try later.
func (e *Error) Temporary() bool { return e.Kind == Transient || e.Kind == RateLimited }

func (k Kind) advice() string {
	switch k {
	case Unauthorized:
		return "the registry wants other credentials: check the Docker configuration that is mounted, and that the account may access this repository"
	case NotFound:
		return "check the spelling; for a private image, check the credentials too"
	case RateLimited:
		return "the registry limits requests: wait, log in, or use a mirror"
	case Transient:
		return "this may pass: try again later"
	case Unreachable:
		return "check the registry's name and the pod's DNS"
	case Untrusted:
		return "for a private CA use --registry-certificate; for a registry without TLS --insecure-registry"
	case DigestMismatch:
		return "the content was damaged or replaced on its way or in the registry"
	}
	return ""
}

// kindError is a cause whose kind is known where it arises; the place comes later.
type kindError struct {
	kind Kind
	err  error
}

func (e *kindError) Error() string { return e.err.Error() }
func (e *kindError) Unwrap() error { return e.err }

// failure makes an error of the given kind, with a format as in fmt.Errorf.
func failure(kind Kind, format string, args ...any) error {
	return &kindError{kind, fmt.Errorf(format, args...)}
}

// digestError says that content does not have the digest by which it was asked for.
type digestError struct{ what, want, got string }

func (e *digestError) Error() string {
	return fmt.Sprintf("digest mismatch: the %s has %s instead of %s", e.what, e.got, e.want)
}

// Damaged tells readers that the content may be right next time.
func (e *digestError) Damaged() bool { return true }

// shortError says that content ended early.
type shortError struct {
	got, want int64
}

func (e *shortError) Error() string {
	return fmt.Sprintf("truncated: got %d of %d bytes", e.got, e.want)
}

// wrap gives err the place and kind that users and exit codes need. An error that has them
// keeps them.
func wrap(op, ref string, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &Error{Op: op, Ref: ref, Kind: classify(err), Err: err}
}

func classify(err error) Kind {
	var (
		known   *kindError
		answer  *transport.Error
		digest  *digestError
		short   *shortError
		dns     *net.DNSError
		record  tls.RecordHeaderError
		trust   *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.Is(err, context.Canceled):
		return Other
	case errors.As(err, &known):
		return known.kind
	case errors.As(err, &digest):
		return DigestMismatch
	case errors.As(err, &trust), errors.As(err, &unknown):
		return Untrusted
	case errors.As(err, &answer): // on loopback beside that of the vain attempt with TLS
		return classifyAnswer(answer)
	case errors.As(err, &record),
		strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"): // net/http exports no error value for it
		return Untrusted
	case errors.As(err, &short):
		return Transient
	case errors.As(err, &dns) && dns.IsNotFound:
		return Unreachable
	case passingError(err), errors.Is(err, context.DeadlineExceeded):
		return Transient
	}
	return Other
}

func classifyAnswer(e *transport.Error) Kind {
	for _, d := range e.Errors {
		switch d.Code {
		case transport.UnauthorizedErrorCode, transport.DeniedErrorCode:
			return Unauthorized
		case transport.TooManyRequestsErrorCode:
			return RateLimited
		case transport.DigestInvalidErrorCode, transport.SizeInvalidErrorCode:
			return DigestMismatch
		}
	}
	switch {
	case e.StatusCode == http.StatusUnauthorized, e.StatusCode == http.StatusForbidden:
		return Unauthorized
	case e.StatusCode == http.StatusNotFound:
		return NotFound
	case e.StatusCode == http.StatusTooManyRequests:
		return RateLimited
	case passingStatus(e.StatusCode):
		return Transient
	}
	return Other
}
