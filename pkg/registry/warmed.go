package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/stream"
)

// warmDir is a directory of base images, an OCI layout that "slipway cache warm" keeps. It may be read-only, and be
// written by others meanwhile. What is in it is asked for by digest alone, and never believed.
type warmDir struct {
	path   string
	warn   func(string)
	warned sync.Map // blob paths
}

// openWarmDir opens the directory; where there is no layout in it, there is a warning, and nil.
func openWarmDir(path string, warn func(string)) *warmDir {
	if _, err := newLayoutSource(dirFiles(path), path); err != nil {
		warn(fmt.Sprintf("no base image is taken from %s: %v", path, err))
		return nil
	}
	return &warmDir{path: path, warn: warn}
}

// passOver says, once for each blob, why it is fetched although it is there; not if it is not there.
func (d *warmDir) passOver(blob string, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if _, again := d.warned.LoadOrStore(blob, true); !again {
		d.warn(fmt.Sprintf("%s in %s is passed over, and fetched from its registry: %v (slipway cache warm replaces it)", blob, d.path, err))
	}
}

// manifest returns the manifest of that digest; ok is false if there is none, or none that is right.
func (d *warmDir) manifest(digest v1.Hash) (desc v1.Descriptor, raw []byte, ok bool) {
	raw, err := readFile(dirFiles(d.path), blobPath(digest), manifestLimit)
	if err == nil {
		desc, err = checkManifest(digest.String(), "", raw)
	}
	if err != nil {
		d.passOver(blobPath(digest), err)
		return v1.Descriptor{}, nil, false
	}
	return desc, raw, true
}

// open opens a blob; nil stands for one that is not there, or not as its digest says. It reads all of it to find out: who
// has got part of a blob cannot start over elsewhere.
func (d *warmDir) open(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	f, err := d.verified(ctx, desc)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		d.passOver(blobPath(desc.Digest), err)
		return nil, nil
	}
	return f, nil
}

func (d *warmDir) verified(ctx context.Context, desc v1.Descriptor) (_ *os.File, err error) {
	f, err := os.OpenInRoot(d.path, blobPath(desc.Digest))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it was only read
		}
	}()
	v, err := newVerifier(stream.Reader(ctx, f), desc)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, v); err != nil {
		return nil, err
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, err
}

// warmed is a repository of which manifests and blobs are taken from a directory that has them. Its registry is
// contacted only for tags, and for what is not there.
type warmed struct {
	dir     *warmDir
	repo    name.Repository
	connect func(context.Context) (*session, error)
}

// pullSource is the source that images of a repository are pulled from.
func (c *Client) pullSource(ctx context.Context, repo name.Repository) (source, error) {
	connect := func(ctx context.Context) (*session, error) { return c.session(ctx, repo, c.opts.Pull) }
	if c.warm == nil {
		return connect(ctx)
	}
	return &warmed{c.warm, repo, connect}, nil
}

func (w *warmed) origin() name.Reference { return origin(w.repo) }

func (w *warmed) layerScope() string { return layerScope(w.repo) }

// manifest implements source. A tag is its registry's to resolve, as it may have moved.
func (w *warmed) manifest(ctx context.Context, id string) (v1.Descriptor, []byte, error) {
	if digest, err := v1.NewHash(id); err == nil {
		if desc, raw, ok := w.dir.manifest(digest); ok {
			return desc, raw, nil
		}
	}
	s, err := w.connect(ctx)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	return s.manifest(ctx, id)
}

// open implements source.
func (w *warmed) open(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	if r, err := w.dir.open(ctx, desc); r != nil || err != nil {
		return r, err
	}
	s, err := w.connect(ctx)
	if err != nil {
		return nil, err
	}
	return s.open(ctx, desc)
}
