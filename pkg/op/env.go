package op

import (
	"context"
	"io"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/state"
)

// Env is what operations need from their surroundings. All of it is safe for concurrent use.
type Env struct {
	Images    Images
	Downloads Downloads
	// Repositories may be nil, as may Downloads, where nothing asks for them.
	Repositories Repositories
	Locals       map[string]Files // local sources by name
	Isolation    isolation.Backend
	Secrets      Secrets
	// Agents gives the socket of each ssh agent by its id.
	Agents map[string]string
	State  *state.Dir
	// CacheMounts may be nil.
	CacheMounts CacheMounts
	// AllowInsecure permits RUN --security=insecure, which gives a process all that
	// the pod itself may do.
	AllowInsecure bool
	// AllowHostNetwork permits RUN --network=host.
	AllowHostNetwork bool
	// Hermetic forbids each RUN that could reach the network, and gives cache mounts nothing from builds before.
	Hermetic bool
	// Fresh is the build's record of emptied caches; without it none is emptied.
	Fresh *FreshCaches
	// Now is the one clock value of the build: what operations make is as old
	// as the build, whatever order they run in.
	Now time.Time
	// Stdout and Stderr take what the operation's process prints.
	Stdout, Stderr io.Writer
}

// WithStreams returns a copy of env whose operations print to stdout and stderr.
func (env *Env) WithStreams(stdout, stderr io.Writer) *Env {
	e := *env
	e.Stdout, e.Stderr = stdout, stderr
	return &e
}

// Images gives base images.
type Images interface {
	// Layers returns the layers of the image manifest that img pins by digest, lowest
	// first. Nothing but the manifest and the config is fetched: layers are lazy.
	Layers(ctx context.Context, img *Image) ([]layer.Layer, error)
}

// Secrets gives the values of --secret.
type Secrets interface {
	// Secret returns the value of a secret, or an error matching fs.ErrNotExist.
	Secret(ctx context.Context, id string) ([]byte, error)
}

// Cacheable reports whether o computes something from its inputs alone, so that two vertices of
// equal key have equal results; sources do not.
func Cacheable(o Op) bool {
	switch o.(type) {
	case *File, *Exec, *Merge:
		return true
	}
	return false
}
