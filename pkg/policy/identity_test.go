package policy

import (
	"strings"
	"testing"
)

func TestIdentity(t *testing.T) {
	digest, other := "@sha256:"+strings.Repeat("1", 64), "@sha256:"+strings.Repeat("2", 64)
	const remap = `{"type": "remapIdentity", "prefix": "mirror.example/vendor", "signedPrefix": "vendor.example"}`
	for _, test := range []struct {
		identity, image, signed string
		err                     string // "" for a match
	}{
		{`{"type": "matchExact"}`, "quay.io/a:1", "quay.io/a:1", ""},
		{`{"type": "matchExact"}`, "a", "docker.io/library/a:latest", ""},
		{`{"type": "matchExact"}`, "quay.io/a:1", "quay.io/a:2", "it is for quay.io/a:2, not for quay.io/a:1"},
		{`{"type": "matchExact"}`, "quay.io/a:1", "quay.io/b:1", "it is for quay.io/b:1"},
		{`{"type": "matchExact"}`, "quay.io/a:1", "quay.io/a", "matchRepository"},
		{`{"type": "matchExact"}`, "quay.io/a" + digest, "quay.io/a:1", "not for quay.io/a@sha256"},
		{`{"type": "matchExact"}`, "quay.io/a" + digest, "quay.io/a" + digest, ""},
		{`{"type": "matchRepoDigestOrExact"}`, "quay.io/a:1", "quay.io/a:1", ""},
		{`{"type": "matchRepoDigestOrExact"}`, "quay.io/a:1", "quay.io/a:2", "it is for quay.io/a:2"},
		{`{"type": "matchRepoDigestOrExact"}`, "quay.io/a" + digest, "quay.io/a:2", ""},
		{`{"type": "matchRepoDigestOrExact"}`, "quay.io/a:1" + digest, "quay.io/a:2", ""},
		{`{"type": "matchRepoDigestOrExact"}`, "quay.io/a" + digest, "quay.io/b:2", "it is for the repository quay.io/b"},
		{`{"type": "matchRepoDigestOrExact"}`, "quay.io/a" + digest, "quay.io/a", "matchRepository"},
		{`{"type": "matchRepoDigestOrExact"}`, "quay.io/a:1", "quay.io/a", "matchRepository"},
		{`{"type": "matchRepository"}`, "quay.io/a:1", "quay.io/a", ""},
		{`{"type": "matchRepository"}`, "quay.io/a:1", "quay.io/a:2", ""},
		{`{"type": "matchRepository"}`, "quay.io/a" + digest, "quay.io/a" + other, ""},
		{`{"type": "matchRepository"}`, "busybox", "index.docker.io/library/busybox", ""},
		{`{"type": "matchRepository"}`, "quay.io/a:1", "quay.io/a/b", "it is for the repository quay.io/a/b, not for quay.io/a"},
		{`{"type": "matchRepository"}`, "quay.io/a:1", "", "it names the image"},
		{`{"type": "exactReference", "dockerReference": "vendor.example/x:1"}`, "quay.io/a:7", "vendor.example/x:1", ""},
		{`{"type": "exactReference", "dockerReference": "vendor.example/x:1"}`, "quay.io/a:7", "vendor.example/x:7", "not for vendor.example/x:1"},
		{`{"type": "exactReference", "dockerReference": "vendor.example/x:1"}`, "quay.io/a:7", "vendor.example/x", "matchRepository"},
		{`{"type": "exactRepository", "dockerRepository": "vendor.example/x"}`, "quay.io/a:7", "vendor.example/x", ""},
		{`{"type": "exactRepository", "dockerRepository": "vendor.example/x"}`, "quay.io/a:7", "vendor.example/x:9", ""},
		{`{"type": "exactRepository", "dockerRepository": "vendor.example/x"}`, "vendor.example/y:1", "vendor.example/y:1", "not for vendor.example/x"},
		{remap, "mirror.example/vendor/p/i:1", "vendor.example/p/i:1", ""},
		{remap, "mirror.example/vendor/p/i:1", "vendor.example/p/i:2", "not for vendor.example/p/i:1"},
		{remap, "mirror.example/vendor/p/i:1", "mirror.example/vendor/p/i:1", "not for vendor.example/p/i:1"},
		{remap, "mirror.example/vendor/p/i" + digest, "vendor.example/p/i:2", ""},
		{remap, "mirror.example/vendors/i:1", "mirror.example/vendors/i:1", ""},
		{remap, "other.example/i:1", "other.example/i:1", ""},
		{`{"type": "remapIdentity", "prefix": "docker.io/library/a", "signedPrefix": "docker.io/library/b"}`, "a:1", "b:1", ""},
		{`{"type": "matchDigest"}`, "quay.io/a:1", "quay.io/b:2", ""},
		{`{"type": "matchDigest"}`, "quay.io/a:1", "", ""},
	} {
		s, err := parseIdentity([]byte(test.identity))
		if err != nil {
			t.Fatal(err)
		}
		i, err := NewImage(test.image)
		if err != nil {
			t.Fatal(err)
		}
		err = s.Match(i, test.signed)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: a signature of %q for %s: %v, want %q", test.identity, test.signed, test.image, err, test.err)
		}
	}
}

// An image that is in no registry is only what a policy says it is.
func TestIdentityOfLocalImage(t *testing.T) {
	i, err := NewLocalImage(t.TempDir(), "1", true)
	if err != nil {
		t.Fatal(err)
	}
	for identity, accepted := range map[string]bool{
		`{"type": "matchRepository"}`:                                         false,
		`{"type": "matchRepoDigestOrExact"}`:                                  false,
		`{"type": "exactRepository", "dockerRepository": "quay.io/a"}`:        true,
		`{"type": "exactReference", "dockerReference": "quay.io/a:1"}`:        true,
		`{"type": "remapIdentity", "prefix": "a", "signedPrefix": "quay.io"}`: false,
	} {
		s, err := parseIdentity([]byte(identity))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Match(i, "quay.io/a:1"); (err == nil) != accepted {
			t.Errorf("%s: %v", identity, err)
		}
	}
}
