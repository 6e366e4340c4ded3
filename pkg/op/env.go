package op

import (
	"context"
	"io"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
)

// Env is what operations need from their surroundings. It is the same for all operations of
// a build; all of it is safe for concurrent use.
type Env struct {
	Images    Images
	Locals    map[string]string // name of the local source to its directory
	Isolation isolation.Backend
	Secrets   Secrets
	// Logs gives the streams that a vertex's process writes to.
	Logs func(ctx context.Context) (stdout, stderr io.Writer)
}

// Images gives base images.
type Images interface {
	// Layers returns the layers of the image manifest that ref pins by digest, lowest
	// first. Nothing but manifest and config is fetched: the layers are lazy.
	Layers(ctx context.Context, img *Image) ([]layer.Layer, error)
}

// Secrets gives the values of --secret.
type Secrets interface {
	// Secret returns the value of a secret, or an error matching fs.ErrNotExist.
	Secret(ctx context.Context, id string) ([]byte, error)
}
