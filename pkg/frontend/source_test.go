package frontend

import (
	"reflect"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/op"
)

// source builds a Dockerfile and returns the only operation in it of the type T.
func source[T op.Op](t *testing.T, p *project) T {
	t.Helper()
	var found []T
	var visit func(v *op.Vertex)
	visit = func(v *op.Vertex) {
		if o, ok := v.Op.(T); ok {
			found = append(found, o)
		}
		for _, i := range v.Inputs {
			visit(i.Vertex)
		}
	}
	visit(root(t, p))
	if len(found) != 1 {
		t.Fatalf("found %v", found)
	}
	return found[0]
}

func TestAddURL(t *testing.T) {
	for add, want := range map[string]op.HTTP{
		"http://example.com/a.tar.gz?x=y /": {URL: "http://example.com/a.tar.gz?x=y", Filename: "a.tar.gz", Mode: 0o600},
		"--link --checksum=sha256:01" + strings.Repeat("0", 62) + " https://example.com/b /c": {
			URL: "https://example.com/b", Filename: "b", Mode: 0o600, Sum: [32]byte{1},
		},
		"--unpack=true --chown=1:2 --chmod=755 https://example.com/ /c": {URL: "https://example.com/", Filename: "__unnamed__", Mode: 0o600},
	} {
		t.Run(add, func(t *testing.T) {
			if got := source[*op.HTTP](t, newProject("FROM scratch\nADD "+add+"\n")); !reflect.DeepEqual(*got, want) {
				t.Errorf("got %+v, want %+v", *got, want)
			}
		})
	}
}

func TestHTTPAttributes(t *testing.T) {
	got, err := decodeHTTP("http://example.com/x", map[string]string{
		pb.AttrHTTPPerm: "0640", pb.AttrHTTPUID: "5", pb.AttrHTTPGID: "6", pb.AttrHTTPAuthHeaderSecret: "s",
		pb.AttrHTTPHeaderPrefix + "accept": "text/plain",
	})
	want := &op.HTTP{
		URL: "http://example.com/x", Mode: 0o640, UID: 5, GID: 6, AuthHeaderSecret: "s",
		Header: map[string]string{"Accept": "text/plain"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for key, value := range map[string]string{
		pb.AttrHTTPPerm: "010000", pb.AttrHTTPUID: "-1", pb.AttrHTTPGID: "x", pb.AttrHTTPChecksum: "sha256:" + strings.Repeat("0", 64),
		pb.AttrHTTPHeaderPrefix + "cookie": "x", pb.AttrHTTPSignatureVerify: "x", "http.new": "x",
	} {
		if o, err := decodeHTTP("http://example.com/x", map[string]string{key: value}); err == nil {
			t.Errorf("%s=%s: got %+v", key, value, o)
		}
	}
}

func TestAddGit(t *testing.T) {
	secrets := op.Git{AuthTokenSecret: "GIT_AUTH_TOKEN", AuthHeaderSecret: "GIT_AUTH_HEADER"}
	for add, change := range map[string]func(*op.Git){
		"https://example.com/a/b.git /": func(g *op.Git) { g.URL = "https://example.com/a/b.git" },
		"--keep-git-dir --checksum=abc123 http://u@example.com/b.git#v1:sub/dir /": func(g *op.Git) {
			g.URL, g.Ref, g.Subdir, g.KeepGitDir, g.Checksum = "http://u@example.com/b.git", "v1", "sub/dir", true, "abc123"
		},
		"https://example.com/b.git?tag=v1&submodules=false&subdir=x /": func(g *op.Git) {
			g.URL, g.Ref, g.Subdir, g.SkipSubmodules = "https://example.com/b.git", "refs/tags/v1", "x", true
		},
		"https://example.com/b.git?branch=b&fetch-by-commit&commit=abcd /": func(g *op.Git) {
			g.URL, g.Ref, g.ByCommit, g.Checksum = "https://example.com/b.git", "refs/heads/b", true, "abcd"
		},
		// Making this graph asks the host for its ssh key, in vain.
		"git@127.0.0.1:b.git#main /": func(g *op.Git) { g.URL, g.Ref, g.Agent = "git@127.0.0.1:b.git", "main", "default" },
	} {
		t.Run(add, func(t *testing.T) {
			want := secrets
			change(&want)
			got := *source[*op.Git](t, newProject("FROM scratch\nADD "+add+"\n"))
			got.KnownHosts = "" // of a machine that runs an ssh server
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestForeignGitAttributes(t *testing.T) {
	for key, value := range map[string]string{
		pb.AttrGitMTime: "never", pb.AttrGitBundle: "x", pb.AttrGitCheckoutBundle: "true",
		pb.AttrGitSignatureVerifyPubKey: "x", "git.new": "x",
	} {
		if g, err := decodeGit("example.com/x", map[string]string{key: value}); err == nil {
			t.Errorf("%s=%s: got %+v", key, value, g)
		}
	}
	if g, err := decodeGit("example.com/x#v1:sub", nil); err != nil || *g != (op.Git{URL: "https://example.com/x", Ref: "v1", Subdir: "sub"}) {
		t.Errorf("got %+v, %v", g, err)
	}
}

// A context is named as it was given on the command line, where it can have a password.
func TestNamesHaveNoCredentials(t *testing.T) {
	for name, want := range map[string]string{
		"[internal] load git source https://user:password@example.com/r.git#v1": "[internal] load git source https://xxxxx@example.com/r.git#v1",
		"https://password@example.com/f?x=password":                             "https://xxxxx@example.com/f?xxxxx",
		"[internal] load git source https://example.com/r.git?ref=v1":           "[internal] load git source https://example.com/r.git?ref=v1",
		"docker-image://docker.io/library/busybox:1@sha256:abc":                 "docker-image://docker.io/library/busybox:1@sha256:abc",
		"[internal] load git source git@example.com:r.git":                      "[internal] load git source git@example.com:r.git",
	} {
		if got := withoutCredentials(name); got != want {
			t.Errorf("%s became %s, want %s", name, got, want)
		}
	}
}
