// Package location opens the stores of a cache by what users write for them:
//
//	host/repository, docker://host/repository            a registry's repository
//	/directory, ./directory, oci:directory               a directory
//	s3://bucket/prefix?…, gs://…, azblob://…, file://…   a bucket, see package bucket
//	type=registry,ref=…; type=local,src=…; type=s3,…     the same in BuildKit's words
package location

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/bucket"
	"github.com/slipway-build/slipway/pkg/registry"
)

// Options are what opening stores needs.
type Options struct {
	// Registry is the build's traffic with registries.
	Registry *registry.Client
	// Existing has directories be refused that are not there, in place of being made.
	Existing bool
}

// ForeignError says that there is a cache of another program, which Slipway neither reads nor adds to.
type ForeignError struct {
	Place string
	What  string // "BuildKit's cache"
}

// Error implements error.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s is %s, whose keys are made otherwise: Slipway cannot use it; give its own cache another place", e.Place, e.What)
}

// Open opens the store that spec describes. An error is in spec, or a [ForeignError], or a [*fs.PathError] if a directory
// can neither be used nor made; whether another store can be reached is seen when it is used. It can be used as long as ctx lasts.
func Open(ctx context.Context, spec string, o Options) (cache.Store, error) {
	s, err := open(ctx, spec, o)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return s, nil
}

func open(ctx context.Context, spec string, o Options) (cache.Store, error) {
	switch scheme, rest, isURL := strings.Cut(spec, "://"); {
	case strings.HasPrefix(spec, "type="):
		return openTyped(ctx, spec, o)
	case isURL && scheme == "docker":
		return openRepository(ctx, rest, o)
	case isURL:
		u, err := url.Parse(spec)
		if err != nil { // it quotes the URL, and with it what may be secret
			return nil, fmt.Errorf("%s://… is not a URL", scheme)
		}
		if u.Scheme == "file" {
			return openDir(u.Path, o, func() (cache.Store, error) { return store(bucket.Open(ctx, u)) })
		}
		return store(bucket.Open(ctx, u))
	}
	if dir, ok := strings.CutPrefix(spec, "oci:"); ok {
		return openDirectory(ctx, dir, o)
	}
	if isPath(spec) {
		return openDirectory(ctx, spec, o)
	}
	if isBareDirectory(spec) {
		return nil, fmt.Errorf("%s is a directory here, and as a repository one of Docker Hub's own: write ./%s", spec, spec)
	}
	return openRepository(ctx, spec, o)
}

// store keeps a nil *bucket.Store from becoming a cache.Store that is not nil.
func store(s *bucket.Store, err error) (cache.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// isPath tells a directory from a repository, as the shell's users write them.
func isPath(spec string) bool {
	return filepath.IsAbs(spec) || spec == "." || spec == ".." ||
		strings.HasPrefix(spec, "./") || strings.HasPrefix(spec, "../")
}

// isBareDirectory reports whether spec is the name of a directory in the working directory, without a slash: those of such
// repositories are Docker Hub's, where nobody can keep a cache.
func isBareDirectory(spec string) bool {
	info, err := os.Stat(spec)
	return err == nil && info.IsDir() && !strings.Contains(spec, "/")
}

func openDirectory(ctx context.Context, dir string, o Options) (cache.Store, error) {
	if dir == "" {
		return nil, errors.New("the directory has no name")
	}
	return openDir(dir, o, func() (cache.Store, error) { return store(bucket.Dir(ctx, dir)) })
}

// openDir opens a directory unless it is an OCI layout: what lies in there belongs to whoever wrote its index.
func openDir(dir string, o Options, open func() (cache.Store, error)) (cache.Store, error) {
	if o.Existing {
		if _, err := os.Stat(dir); err != nil {
			return nil, err
		}
	}
	_, err := os.Stat(filepath.Join(dir, "oci-layout"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return open()
	}
	if err != nil {
		return nil, err
	}
	return nil, &ForeignError{dir, "an OCI layout, such as the local caches of BuildKit and Kaniko"}
}
