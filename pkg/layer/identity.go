package layer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/state"
)

// identity is what a blob has to be, by what the image's manifest and configuration say. What
// the state directory keeps of it can be found by that.
type identity struct {
	digest, diffID v1.Hash
	size           int64 // bytes, compressed
}

func identify(src v1.Layer) (*identity, error) {
	digest, err := src.Digest()
	if err != nil {
		return nil, fmt.Errorf("layer: asking for its digest: %w", err)
	}
	diffID, err := src.DiffID()
	if err != nil {
		return nil, fmt.Errorf("layer %s: asking for its diffID: %w", digest, err)
	}
	size, err := src.Size()
	if err != nil {
		return nil, fmt.Errorf("layer %s: asking for its size: %w", digest, err)
	}
	for _, h := range []v1.Hash{digest, diffID} {
		if h.Algorithm != "sha256" {
			return nil, fmt.Errorf("layer %s: digests by %s are not supported", digest, h.Algorithm)
		}
	}
	return &identity{digest: digest, diffID: diffID, size: size}, nil
}

// keptIndex returns the index from the state directory. One that is damaged or that another
// version wrote counts as absent, and is made anew.
func (id *identity) keptIndex(dir *state.Dir) (*Index, *extents, error) {
	f, err := dir.Lookup(kindIndexes, objectName(id.diffID))
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, nil, err
	}
	x, c, err := decodeIndex(data)
	if err != nil || c == nil {
		return nil, nil, fs.ErrNotExist
	}
	return x, c, nil
}

// keptTar returns the tar from the state directory; one that is damaged counts as absent.
func (id *identity) keptTar(dir *state.Dir) (*Tar, error) {
	x, c, err := id.keptIndex(dir)
	if err != nil {
		return nil, err
	}
	f, err := keptFile(dir, kindTars, id.diffID, c.tarSize)
	if err != nil {
		return nil, err
	}
	return &Tar{index: x, extents: c, r: f}, nil
}

// keptBlob returns the compressed blob from the state directory. If it is not compressed, that is
// the tar.
func (id *identity) keptBlob(dir *state.Dir) (*os.File, error) {
	f, err := keptFile(dir, kindBlobs, id.digest, id.size)
	if errors.Is(err, fs.ErrNotExist) && id.digest == id.diffID {
		return keptFile(dir, kindTars, id.diffID, id.size)
	}
	return f, err
}

// keptFile opens an object of the state directory. One of another size, which a crash of the
// machine can leave, counts as absent.
func keptFile(dir *state.Dir, kind string, h v1.Hash, size int64) (*os.File, error) {
	f, err := dir.Lookup(kind, objectName(h))
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && fi.Size() != size {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
