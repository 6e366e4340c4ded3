package registry

import (
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// verifier passes a blob on and ends with an error instead of io.EOF if what passed was not what
// its descriptor says. More bytes than there should be are an error as soon as they come.
type verifier struct {
	r    io.Reader
	desc v1.Descriptor
	hash hash.Hash
	left int64
}

func newVerifier(r io.Reader, desc v1.Descriptor) (*verifier, error) {
	h, err := v1.Hasher(desc.Digest.Algorithm)
	if err != nil {
		return nil, fmt.Errorf("digest %s: %w", desc.Digest, err)
	}
	return &verifier{r: r, desc: desc, hash: h, left: desc.Size}, nil
}

// Read implements io.Reader.
func (v *verifier) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	// One byte more than is left tells a source that is too long.
	n, err := v.r.Read(p[:min(int64(len(p)), v.left+1)])
	v.left -= int64(n)
	if v.left < 0 {
		return 0, &digestError{what: fmt.Sprintf("blob (longer than its %d bytes)", v.desc.Size), want: v.desc.Digest.String(), got: "another digest"}
	}
	v.hash.Write(p[:n]) // hash.Hash never fails
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		return n, err
	case v.left > 0:
		return n, fmt.Errorf("blob %s: %w", v.desc.Digest, &shortError{got: v.desc.Size - v.left, want: v.desc.Size})
	}
	if got := fmt.Sprintf("%x", v.hash.Sum(nil)); got != v.desc.Digest.Hex {
		return n, &digestError{what: "blob", want: v.desc.Digest.String(), got: v.desc.Digest.Algorithm + ":" + got}
	}
	return n, io.EOF
}

// joinedCloser reads from one thing and closes another.
type joinedCloser struct {
	io.Reader
	io.Closer
}
