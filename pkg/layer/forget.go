package layer

import (
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/state"
)

// Forget removes what dir keeps of a layer's bytes, compressed and not. Whoever needs them again fetches
// them again.
func Forget(dir *state.Dir, digest, diffID v1.Hash) error {
	return errors.Join(dir.Remove(kindBlobs, objectName(digest)), dir.Remove(kindTars, objectName(diffID)))
}
