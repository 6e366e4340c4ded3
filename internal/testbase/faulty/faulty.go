// Package faulty stands between a client and a registry, for tests, and does what bad networks and busy servers do.
package faulty

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Fault is one kind of mishap.
type Fault string

// The kinds of mishaps.
const (
	Dropped     Fault = "connection dropped before an answer"
	Lost        Fault = "answer lost after the request was served"
	Busy        Fault = "429 with Retry-After"
	Internal    Fault = "500"
	BadGateway  Fault = "502"
	Truncated   Fault = "answer truncated"
	Corrupted   Fault = "a byte of the answer changed"
	BrokenUp    Fault = "upload broken off"
	CorruptedUp Fault = "a byte of the upload changed"
)

// faults lists all kinds.
func faults() []Fault {
	return []Fault{Dropped, Lost, Busy, Internal, BadGateway, Truncated, Corrupted, BrokenUp, CorruptedUp}
}

// Proxy is a way to a registry on which requests meet faults.
type Proxy struct {
	Host string

	mu   sync.Mutex
	rand *rand.Rand
	rate float64
	hits map[Fault]int
}

// Serve starts a proxy before host. Each request meets a fault with the probability rate, chosen by seed.
func Serve(t testing.TB, host string, rate float64, seed uint64) *Proxy {
	t.Helper()
	p := &Proxy{rand: rand.New(rand.NewPCG(seed, 0)), rate: rate, hits: map[Fault]int{}} //nolint:gosec // repeatable, not secret
	upstream := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: host})
			r.Out.Host = r.In.Host // which the registry's answers name
		},
		ModifyResponse: p.answer,
		ErrorLog:       log.New(io.Discard, "", 0), // what is broken is broken on purpose
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // the upload was broken off
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, upstream) }))
	t.Cleanup(server.Close)
	p.Host = strings.TrimPrefix(server.URL, "http://")
	return p
}

// Hits says how often each fault happened, all kinds included.
func (p *Proxy) Hits() map[Fault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	hits := map[Fault]int{}
	for _, f := range faults() {
		hits[f] = p.hits[f]
	}
	return hits
}

// draw chooses what happens to a request; "" for nothing.
func (p *Proxy) draw(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rand.Float64() >= p.rate {
		return ""
	}
	f := faults()[p.rand.IntN(len(faults()))]
	uploads := r.Method == http.MethodPatch || r.Method == http.MethodPut && r.ContentLength > 0
	switch {
	case (f == BrokenUp || f == CorruptedUp) && !uploads,
		(f == Truncated || f == Corrupted) && r.Method != http.MethodGet:
		return ""
	}
	p.hits[f]++
	return f
}

type faultKey struct{}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, upstream http.Handler) {
	f := p.draw(r)
	switch f {
	case Dropped:
		panic(http.ErrAbortHandler)
	case Busy:
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	case Internal:
		w.WriteHeader(http.StatusInternalServerError)
		return
	case BadGateway:
		w.WriteHeader(http.StatusBadGateway)
		return
	case BrokenUp:
		r.Body = &broken{r.Body, 100}
	case CorruptedUp:
		r.Body = &corrupted{ReadCloser: r.Body}
	}
	upstream.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), faultKey{}, f)))
}

// answer spoils what the registry says.
func (p *Proxy) answer(resp *http.Response) error {
	switch f, _ := resp.Request.Context().Value(faultKey{}).(Fault); f {
	case Lost:
		return errors.New("lost")
	case Truncated:
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		resp.Header.Set("Content-Length", strconv.Itoa(len(data)))
		resp.Body = &broken{io.NopCloser(bytes.NewReader(data)), len(data) / 2}
	case Corrupted:
		resp.Body = &corrupted{ReadCloser: resp.Body}
	}
	return nil
}

// broken ends with an error after some bytes.
type broken struct {
	io.ReadCloser
	left int
}

func (b *broken) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// corrupted changes one byte.
type corrupted struct {
	io.ReadCloser
	done bool
}

func (c *corrupted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if n > 0 && !c.done {
		p[n/2] ^= 0x20
		c.done = true
	}
	return n, err
}
