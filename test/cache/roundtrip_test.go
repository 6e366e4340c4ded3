package stores

import (
	"io"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/cache"
)

// roundTrip puts a blob and gets it back from a store that says it is at where.
func roundTrip(t *testing.T, s cache.Store, where string) {
	t.Helper()
	if s.String() != where {
		t.Errorf("the store is at %s instead of %s", s, where)
	}
	const content = "there and back"
	digest, size, err := v1.SHA256(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	d := v1.Descriptor{Digest: digest, Size: size}
	if err := s.Put(t.Context(), d, func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != content {
		t.Errorf("%q came back, %v", got, err)
	}
}
