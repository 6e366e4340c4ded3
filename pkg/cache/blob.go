package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// readBlob returns a whole blob, verified.
func readBlob(ctx context.Context, s Store, desc v1.Descriptor, limit int64) (_ []byte, err error) {
	if desc.Size > limit {
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are accepted", desc.Size, limit)
	}
	r, err := s.Open(ctx, desc)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	data, err := io.ReadAll(io.LimitReader(r, desc.Size+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != desc.Size {
		return nil, fmt.Errorf("it does not have the %d bytes that it should have", desc.Size)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != desc.Digest.Hex {
		return nil, fmt.Errorf("digest mismatch: it has sha256:%s instead of %s", got, desc.Digest)
	}
	return data, nil
}

// bytesOf opens data.
func bytesOf(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}
