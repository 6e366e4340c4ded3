package policy

import (
	"errors"
	"strings"
	"testing"
)

// What comes from elsewhere must be pinned, after all that other rules make of it.
func TestHermetic(t *testing.T) {
	digest, hash := strings.Repeat("a", 64), strings.Repeat("b", 40)
	converting, _, err := sources(t, `{"rules": [
		{"action": "CONVERT", "selector": {"identifier": "docker-image://docker.io/library/pinned:1"}, "updates": {"identifier": "docker-image://docker.io/library/pinned:1@sha256:`+digest+`"}},
		{"action": "DENY", "selector": {"identifier": "docker-image://docker.io/library/denied*"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	var none *Sources
	for _, c := range []struct {
		policy     *Sources
		identifier string
		attrs      map[string]string
		why        string // "" for allowed
	}{
		{none, "docker-image://docker.io/library/alpine:3", nil, "its digest"},
		{none, "docker-image://docker.io/library/alpine:3@sha256:" + digest, nil, ""},
		{none, "docker-image://docker.io/library/alpine@sha256:" + digest, nil, ""},
		{converting, "docker-image://docker.io/library/pinned:1", nil, ""},
		{converting, "docker-image://docker.io/library/other:1", nil, "its digest"},
		{converting, "docker-image://docker.io/library/denied@sha256:" + digest, nil, "denied by policy"},
		{none, "https://example.com/f", nil, "its checksum"},
		{none, "https://example.com/f", map[string]string{"http.checksum": "sha256:" + digest}, ""},
		{none, "git://example.com/r.git#main", nil, "its commit"},
		{none, "git://example.com/r.git", nil, "its commit"},
		{none, "git://example.com/r.git#" + hash[:12], nil, "its commit"},
		{none, "git://example.com/r.git#" + hash + ":sub", nil, ""},
		{none, "git://example.com/r.git#v1", map[string]string{"git.checksum": hash}, ""},
		{none, "local://context", nil, ""},
		{none, "oci-layout://x@sha256:" + digest, nil, ""},
		{none, "s3://bucket/object", nil, "nothing says"},
	} {
		_, err := c.policy.Hermetic().Decide(t.Context(), Source{Identifier: c.identifier, Attrs: c.attrs})
		var denied *DeniedError
		if (err == nil) != (c.why == "") || err != nil && (!errors.As(err, &denied) || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s %v: %v", c.identifier, c.attrs, err)
		}
	}
}
