package bases

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/stream"
)

const (
	blobDir  = "blobs/sha256"
	lockFile = ".slipway.lock"
	tmpName  = ".slipway-"
)

// directory is an OCI layout that may be read and written by several processes at once: files in it come into being by
// rename, and index.json is changed under a lock. It implements registry.Store.
type directory struct {
	root *os.Root
	// oldest is when a blob must have been written to be good; zero for any time.
	oldest time.Time
	// fetched counts the bytes that were written.
	fetched atomic.Int64
}

var _ registry.Store = (*directory)(nil)

// openDirectory opens the layout at path, and makes it where there is none.
func openDirectory(ctx context.Context, path string, now time.Time) (*directory, error) {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	d := &directory{root: root}
	if err := d.prepare(ctx, now); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return d, nil
}

func (d *directory) Close() error { return d.root.Close() }

// prepare makes an empty directory a layout, and removes what writers left that were killed.
func (d *directory) prepare(ctx context.Context, now time.Time) error {
	unlock, err := d.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.root.MkdirAll(blobDir, 0o777); err != nil {
		return err
	}
	for _, dir := range []string{".", blobDir} {
		if err := d.removeLeftovers(dir, now); err != nil {
			return err
		}
	}
	index, err := d.index()
	if err != nil {
		return err
	}
	if len(index.Manifests) == 0 {
		if err := d.writeIndex(index); err != nil {
			return err
		}
	}
	return d.write("oci-layout", strings.NewReader(`{"imageLayoutVersion":"1.0.0"}`))
}

// leftoverAge is the age of temporary files that nobody is writing any more.
const leftoverAge = 24 * time.Hour

func (d *directory) removeLeftovers(dir string, now time.Time) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tmpName) {
			continue
		}
		info, err := e.Info()
		if err == nil && now.Sub(info.ModTime()) > leftoverAge {
			err = d.root.Remove(path.Join(dir, e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lock takes the lock under which index.json is changed. It waits until it is free or ctx ends.
func (d *directory) lock(ctx context.Context) (unlock func(), err error) {
	f, err := d.root.OpenFile(lockFile, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // which frees the lock
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("locking %s: %w", lockFile, err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), f.Close())
		case <-time.After(wait):
		}
	}
}

// write makes a file appear complete or not at all.
func (d *directory) write(name string, r io.Reader) error {
	tmp := path.Join(path.Dir(name), tmpName+rand.Text())
	f, err := d.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err == nil {
		err = d.root.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, d.root.Remove(tmp))
	}
	d.fetched.Add(n)
	return nil
}

func blobPath(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

// Put implements registry.Store.
func (d *directory) Put(ctx context.Context, blob v1.Descriptor, open func() (io.ReadCloser, error)) error {
	if d.has(ctx, blob) {
		return nil
	}
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	name := blobPath(blob.Digest)
	if err := d.root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return err
	}
	return d.write(name, stream.Reader(ctx, r))
}

// has reports whether a blob is there, young enough, and as its digest says. Whatever else is there will be replaced.
func (d *directory) has(ctx context.Context, blob v1.Descriptor) bool {
	f, err := d.root.Open(blobPath(blob.Digest))
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != blob.Size || info.ModTime().Before(d.oldest) {
		return false
	}
	h, err := v1.Hasher(blob.Digest.Algorithm)
	if err != nil {
		return false
	}
	_, err = io.Copy(h, stream.Reader(ctx, f))
	return err == nil && fmt.Sprintf("%x", h.Sum(nil)) == blob.Digest.Hex
}

// Open implements registry.Store.
func (d *directory) Open(_ context.Context, blob v1.Descriptor) (io.ReadCloser, error) {
	return d.root.Open(blobPath(blob.Digest))
}

// Annotations by which index.json names its images: the specification's, and what containerd and docker import by.
const (
	refName   = "org.opencontainers.image.ref.name"
	imageName = "io.containerd.image.name"
)

// name gives an image, or an index, its name in index.json; what had the name loses it.
func (d *directory) name(ctx context.Context, name string, image v1.Descriptor) error {
	unlock, err := d.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	index, err := d.index()
	if err != nil {
		return err
	}
	index.Manifests = slices.DeleteFunc(index.Manifests, func(o v1.Descriptor) bool { return o.Annotations[refName] == name })
	image.Annotations = map[string]string{refName: name, imageName: name}
	index.Manifests = append(index.Manifests, image)
	slices.SortFunc(index.Manifests, func(a, b v1.Descriptor) int {
		return strings.Compare(a.Annotations[refName], b.Annotations[refName])
	})
	return d.writeIndex(index)
}

func (d *directory) index() (*v1.IndexManifest, error) {
	raw, err := d.root.ReadFile("index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}, nil
	}
	if err != nil {
		return nil, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("index.json is damaged: %w", err)
	}
	return &index, nil
}

func (d *directory) writeIndex(index *v1.IndexManifest) error {
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return d.write("index.json", strings.NewReader(string(raw)))
}
