package registry_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/credentials"
	"github.com/slipway-build/slipway/pkg/registry"
)

// answering answers requests of a method whose path has part.
func answering(method, part string, status int, body string, header http.Header) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != method || !strings.Contains(r.URL.Path, part) {
			return false
		}
		for k, v := range header {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
		return true
	}
}

// What registries say of a tag that must not be changed.
func immutableAnswers() map[string]struct {
	status int
	body   string
} {
	return map[string]struct {
		status int
		body   string
	}{
		"ECR":               {400, `{"errors":[{"code":"TAG_INVALID","message":"The image tag '1' already exists in the 'app' repository and cannot be overwritten because the repository is immutable."}]}`},
		"ECR, as exception": {400, `{"errors":[{"code":"UNKNOWN","message":"ImageTagAlreadyExistsException"}]}`},
		"Artifact Registry": {400, `{"errors":[{"code":"MANIFEST_INVALID","message":"cannot update tag \"1\". The repository has enabled tag immutability"}]}`},
		"Harbor":            {412, `{"errors":[{"code":"PRECONDITION","message":"Failed to process request due to 'app:1' configured as immutable."}]}`},
		"without JSON":      {409, `the tag is immutable`},
	}
}

func TestImmutableTags(t *testing.T) {
	for of, answer := range immutableAnswers() {
		for name, test := range map[string]struct {
			same, keep, ok, warns bool
		}{
			"the tag names another image":            {},
			"the tag names another image, and stays": {keep: true, ok: true, warns: true},
			"the tag names this image":               {same: true, ok: true},
			"the tag names this image, and stays":    {same: true, keep: true, ok: true},
		} {
			t.Run(of+"/"+name, func(t *testing.T) {
				s := serve(t)
				there, pushed := imageWith(t, amd64, "old"), imageWith(t, amd64, "new")
				if test.same {
					there = pushed
				}
				ref := s.put(t, "app:1", there)
				s.interceptWith(answering(http.MethodPut, "/manifests/1", answer.status, answer.body, nil))
				var n notes
				to, err := newClient(t, registry.Options{KeepTags: test.keep, Warn: n.add}).Destinations([]string{ref})
				if err != nil {
					t.Fatal(err)
				}
				if err := to.Push(t.Context(), pushed); err != nil {
					t.Fatal(err)
				}
				err = to.Tag(t.Context(), pushed)
				old, digestErr := there.Digest()
				if digestErr != nil {
					t.Fatal(digestErr)
				}
				switch {
				case test.ok && err != nil:
					t.Error(err)
				case !test.ok && (err == nil || !strings.Contains(err.Error(), "--push-ignore-immutable-tag-errors") || !strings.Contains(err.Error(), old.String())):
					t.Errorf("got %v", err)
				}
				if n.contain("stays what it was: "+old.String()) != test.warns {
					t.Errorf("notes %q", n.text)
				}
			})
		}
	}
}

// What the registry says is passed on, with what to do about it.
func TestAdvice(t *testing.T) {
	const ecr = `{"errors":[{"code":"NAME_UNKNOWN","message":"The repository with name 'app/cache' does not exist in the registry with id '123'"}]}`
	const hub = `{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your unauthenticated pull rate limit."}]}`
	hubHeader := http.Header{"Ratelimit-Limit": {"100;w=21600"}, "Docker-Ratelimit-Source": {"203.0.113.7"}}
	account := http.Header{"Ratelimit-Limit": {"200;w=21600"}, "Docker-Ratelimit-Source": {"0a1b2c"}}
	push := func(c *registry.Client, host string) error {
		repo, err := c.Repository(host + "/app/cache")
		if err != nil {
			return err
		}
		to, err := c.Destinations([]string{repo.String() + ":1"})
		if err != nil {
			return err
		}
		return to.Push(t.Context(), imageWith(t, amd64, "x"))
	}
	pull := func(c *registry.Client, host string) error {
		_, err := c.Resolve(t.Context(), host+"/app:1", amd64)
		return err
	}
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		do     func(*registry.Client, string) error
		login  bool
		want   []string
	}{
		"a repository that does not exist": {
			answering(http.MethodPost, "/blobs/uploads/", 404, ecr, nil), push, false,
			[]string{"does not exist in the registry with id '123'", "no repository app/cache", "create it", "--cache-repo"},
		},
		"a limit for addresses": {
			answering(http.MethodGet, "/manifests/", 429, hub, hubHeader), pull, false,
			[]string{"unauthenticated pull rate limit", "the limit is 100 pulls in 6h", "anonymous", "203.0.113.7", "log in", "--registry-mirror"},
		},
		"a limit for an account": {
			answering(http.MethodGet, "/manifests/", 429, hub, account), pull, true,
			[]string{"the limit is 200 pulls in 6h of the account of the login ann"},
		},
		"a limit that is not explained": {
			answering(http.MethodGet, "/manifests/", 429, "", nil), pull, false,
			[]string{"the registry limits requests, and the request was anonymous"},
		},
		"Artifact Registry denies": {
			answering(http.MethodPost, "/blobs/uploads/", 403, `{"errors":[{"code":"DENIED","message":"Permission \"artifactregistry.repositories.uploadArtifacts\" denied on resource"}]}`, nil), push, false,
			[]string{"artifactregistry.repositories.uploadArtifacts", "no credentials are known", "the registry wants other credentials"},
		},
		"Harbor denies": {
			answering(http.MethodPost, "/blobs/uploads/", 401, `{"errors":[{"code":"UNAUTHORIZED","message":"unauthorized to access repository: app/cache, action: push"}]}`, nil), push, true,
			[]string{"action: push", "tried: the login ann", "the registry wants other credentials"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.interceptWith(test.answer)
			var o registry.Options
			if test.login {
				o.Credentials = oneLogin{Username: "ann", Password: "hidden"}
			}
			err := test.do(newClient(t, o), s.host)
			if err == nil {
				t.Fatal("it succeeded")
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in: %v", part, err)
				}
			}
		})
	}
}

// A build asks beforehand whether it may push, and is stopped only by what says clearly that it may not.
func TestMayPush(t *testing.T) {
	upload := func(status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return answering(http.MethodPost, "/blobs/uploads/", status, body, nil)
	}
	for name, test := range map[string]struct {
		answer func(http.ResponseWriter, *http.Request) bool
		login  credentials.Source
		want   string // part of the error, "" for none
	}{
		"allowed":                  {},
		"denied":                   {answer: upload(403, `{"errors":[{"code":"DENIED","message":"you may not"}]}`), want: "DENIED"},
		"no login":                 {answer: requireBasic("ann", "right"), want: "no credentials are known"},
		"another login":            {answer: requireBasic("ann", "right"), login: oneLogin{Username: "ann", Password: "wrong"}, want: "tried: the login ann"},
		"the right login":          {answer: requireBasic("ann", "right"), login: oneLogin{Username: "ann", Password: "right"}},
		"no such repository":       {answer: upload(404, `{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}`), want: "create it"},
		"no such thing as uploads": {answer: upload(405, "")},
		"an unclear answer":        {answer: upload(404, "")},
		"a busy registry":          {answer: upload(429, "")},
		"a broken registry":        {answer: upload(500, "")},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			s.interceptWith(test.answer)
			to, err := newClient(t, registry.Options{Credentials: test.login}).Destinations([]string{s.host + "/app:1", s.host + "/app:2"})
			if err != nil {
				t.Fatal(err)
			}
			err = to.MayPush(t.Context())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if n := s.count(http.MethodDelete, "/blobs/uploads/"); test.answer == nil && n != 1 {
				t.Errorf("%d uploads were given up, want 1", n)
			}
		})
	}
}
