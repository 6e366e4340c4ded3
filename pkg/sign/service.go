package sign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-build/slipway/pkg/registry"
)

// ServiceError is a failure of a service that signing needs: Fulcio, Rekor, a timestamp authority, or one that gives out identity tokens.
type ServiceError struct {
	Service string // "Fulcio"
	URL     string
	Passing bool // it may be gone at the next attempt
	Err     error
}

// Error implements error.
func (e *ServiceError) Error() string {
	s := fmt.Sprintf("%s (%s): %v", e.Service, e.URL, e.Err)
	if e.Passing {
		s += " (this may pass: try again later)"
	}
	return s
}

// Unwrap returns the cause.
func (e *ServiceError) Unwrap() error { return e.Err }

// Temporary reports whether the whole build is worth another try later.
func (e *ServiceError) Temporary() bool { return e.Passing }

// serviceTimeout bounds a request to a service, repetitions included.
const serviceTimeout = time.Minute

// jsonType is the media type of most answers.
const jsonType = "application/json"

// answerLimit is the most that a service may answer, in bytes.
const answerLimit = 4 << 20

// service is the way to a service. What is not an answer that can be used comes back as a ServiceError. Answers are read here, so that
// those that break off are noticed while we know what they are.
type service struct {
	name, url string
	inner     http.RoundTripper
	// ctx bounds requests that libraries make without one.
	ctx context.Context
	// accept is a status beside 2xx that the caller understands.
	accept int
	// mediaType is that of an answer that can be used; "" takes any.
	mediaType string
	// answered gets each answer that can be used; nil for nobody.
	answered func(body []byte)
}

func newService(ctx context.Context, client *registry.Client, name, url string) *service {
	return &service{name: name, url: url, inner: client.HTTPClient().Transport, ctx: ctx}
}

// httpClient follows no redirects: services have no reason for them, and the requests have tokens.
func (s *service) httpClient() *http.Client {
	return &http.Client{Transport: s, Timeout: serviceTimeout}
}

// RoundTrip implements http.RoundTripper.
func (s *service) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	resp, err := s.inner.RoundTrip(req.Clone(ctx))
	if err != nil {
		return nil, s.failure(err, registry.Passing(err))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, s.failure(fmt.Errorf("its answer broke off: %w", err), true)
	}
	switch {
	case len(body) > answerLimit:
		return nil, s.failure(errors.New("its answer is too long"), false)
	case resp.StatusCode/100 != 2 && resp.StatusCode != s.accept:
		return nil, s.failure(fmt.Errorf("it answered %q%s", resp.Status, said(body, req)), registry.PassingStatus(resp.StatusCode))
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); s.mediaType != "" && (err != nil || kind != s.mediaType) {
		return nil, s.failure(fmt.Errorf("it answered with %q instead of %s, as something else does that has this address", kind, s.mediaType), false)
	}
	if s.answered != nil {
		s.answered(body)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func (s *service) failure(err error, passing bool) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return &ServiceError{Service: s.name, URL: s.url, Passing: passing, Err: err}
}

// said is what a service says beside the status, on one line, and without the token that it was shown.
func said(body []byte, req *http.Request) string {
	const enough = 500
	text := string(body)
	var answer struct {
		Message string `json:"message"`
	}
	if err := json.Unmarshal(body, &answer); err == nil && answer.Message != "" {
		text = answer.Message
	}
	if _, token, ok := strings.Cut(req.Header.Get("Authorization"), " "); ok && token != "" {
		text = strings.ReplaceAll(text, token, "***")
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if text == "" {
		return ""
	}
	if len(text) > enough {
		text = strings.ToValidUTF8(text[:enough], "") + "…"
	}
	return ": " + text
}
