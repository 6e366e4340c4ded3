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
	source
	dir *warmDir
}

// pullSource is the source that an image of a repository is pulled from.
func (c *Client) pullSource(ctx context.Context, repo name.Repository) (source, error) {
	src, err := c.mirrored(ctx, repo)
	if err != nil || c.warm == nil {
		return src, err
	}
	return &warmed{src, c.warm}, nil
}

// manifest implements source. A tag is its registry's to resolve, as it may have moved.
func (w *warmed) manifest(ctx context.Context, id string) (v1.Descriptor, []byte, error) {
	if digest, err := v1.NewHash(id); err == nil {
		if desc, raw, ok := w.dir.manifest(digest); ok {
			return desc, raw, nil
		}
	}
	return w.source.manifest(ctx, id)
}

// open implements source.
func (w *warmed) open(ctx context.Context, desc v1.Descriptor) (io.ReadCloser, error) {
	if r, err := w.dir.open(ctx, desc); r != nil || err != nil {
		return r, err
	}
	return w.source.open(ctx, desc)
}

// repositories implements located.
func (w *warmed) repositories() []name.Repository { return places(w.source) }
