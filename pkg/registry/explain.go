package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// advice says what to do: about what a registry is known to mean by its answer, else about errors of this kind.
func (e *Error) advice() string {
	if repo, host, ok := missingRepository(e.Err); ok {
		return adviceOnMissing(repo, host)
	}
	var limited *rateLimitError
	if errors.As(e.Err, &limited) {
		return limited.advice()
	}
	return e.Kind.advice()
}

// missingRepository reports whether something was sent to a repository that the registry wants to be created first.
func missingRepository(err error) (repo, host string, ok bool) {
	var answer *transport.Error
	if !errors.As(err, &answer) || answer.Request == nil || answer.StatusCode != http.StatusNotFound {
		return "", "", false
	}
	switch answer.Request.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return "", "", false
	}
	unknown := slices.ContainsFunc(answer.Errors, func(d transport.Diagnostic) bool { return d.Code == transport.NameUnknownErrorCode })
	if !unknown && !strings.Contains(answer.Error(), "RepositoryNotFoundException") {
		return "", "", false
	}
	repo, _, ok = strings.Cut(strings.TrimPrefix(answer.Request.URL.Path, "/v2/"), "/blobs/")
	if !ok {
		repo, _, ok = strings.Cut(repo, "/manifests/")
	}
	return repo, answer.Request.URL.Host, ok
}

// ecrHost is a registry of AWS, with its region.
var ecrHost = regexp.MustCompile(`^\d+\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.`)

func adviceOnMissing(repo, host string) string {
	advice := fmt.Sprintf("this registry has no repository %s, and makes none by itself: create it", repo)
	if m := ecrHost.FindStringSubmatch(host); m != nil {
		advice += fmt.Sprintf(", as with aws ecr create-repository --region %s --repository-name %s, or have ECR do so by a repository creation template", m[1], repo)
	}
	if strings.HasSuffix(repo, "/cache") {
		advice += "; a cache can also be in another repository: --cache-repo"
	}
	return advice
}

// rateLimitError says whose requests a registry limits, and to how many.
type rateLimitError struct {
	err    error
	login  string // what the request was made with
	anon   bool   // that is nothing
	limit  string // Docker Hub's ratelimit-limit: "100;w=21600"
	source string // Docker Hub's docker-ratelimit-source: an address, or an account's id
}

func (e *rateLimitError) Error() string { return e.err.Error() }
func (e *rateLimitError) Unwrap() error { return e.err }

// limited adds to err what resp, if it is about a rate limit, says of it.
func (s *session) limited(resp *http.Response, err error) error {
	if resp.StatusCode != http.StatusTooManyRequests {
		return err
	}
	e := &rateLimitError{err: err, limit: resp.Header.Get("Ratelimit-Limit"), source: resp.Header.Get("Docker-Ratelimit-Source")}
	e.login, e.anon = s.logins.inUse()
	if _, addressErr := netip.ParseAddr(e.source); addressErr == nil {
		e.anon = true // whoever we are, we were counted by our address
	}
	return e
}

func (e *rateLimitError) advice() string {
	limit := "the registry limits requests"
	if count, window, ok := strings.Cut(e.limit, ";w="); ok {
		limit = fmt.Sprintf("the limit is %s pulls", count)
		if seconds, err := strconv.Atoi(window); err == nil {
			limit += " in " + strings.TrimSuffix((time.Duration(seconds)*time.Second).String(), "0m0s")
		}
	}
	if e.anon {
		who := "everybody at this address"
		if e.source != "" {
			who += ", " + e.source
		}
		return limit + ", and the request was anonymous, so that it is shared with " + who + ": log in, pull from a mirror (--registry-mirror, --registry-map), keep base images (slipway cache warm), or wait"
	}
	return limit + " of the account of " + e.login + ": wait, pull from a mirror (--registry-mirror, --registry-map), keep base images (slipway cache warm), or use an account that may do more"
}

// inUse names the credentials that worked, and says whether they are none.
func (l *logins[T]) inUse() (name string, anonymous bool) {
	i := int(l.last.Load())
	return l.list[i].Name, i == len(l.list)-1
}
