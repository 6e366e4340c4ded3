package registry

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/state"
)

// archive gives random access to the files in a tar. It stays open as long as the process:
// layers are read from it at any time.
type archive struct {
	r       io.ReaderAt
	members map[string]member
}

// member is one file of an archive: where its bytes lie, or what it links to.
type member struct {
	offset, size int64
	link         string
}

// openArchive opens a tar of an OCI layout or from "docker save". A compressed one is unpacked
// to the state directory first.
func openArchive(ctx context.Context, file string, st *state.Dir) (source, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	plain, err := decompressed(f, st)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading %s: %w", file, err), f.Close())
	}
	a, err := scanArchive(plain)
	if err != nil {
		return nil, errors.Join(failure(Invalid, "%s is not a tar archive: %w", file, err), plain.Close())
	}
	if _, ok := a.members["oci-layout"]; ok {
		return newLayoutSource(a, file)
	}
	return newDockerArchive(ctx, a, file)
}

// decompressed returns f, or in its stead an unpacked temporary copy.
func decompressed(f *os.File, st *state.Dir) (*os.File, error) {
	r, algorithm, err := compression.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if algorithm == compression.None {
		_, err := f.Seek(0, io.SeekStart)
		return f, err
	}
	tmp, err := st.TempFile()
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(tmp, r); err != nil {
		return nil, errors.Join(err, tmp.Close())
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, tmp.Close())
	}
	return tmp, f.Close()
}

// scanArchive reads the headers of a tar and skips the contents.
func scanArchive(f io.ReadSeeker) (*archive, error) {
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, errors.New("no random access")
	}
	a := &archive{r: at, members: map[string]member{}}
	tr := tar.NewReader(f)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean("/" + h.Name)[1:]
		switch h.Typeflag {
		case tar.TypeReg:
			// The reader stands where the content begins: archive/tar
			// does not read ahead.
			offset, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, err
			}
			a.members[name] = member{offset: offset, size: h.Size}
		case tar.TypeSymlink:
			a.members[name] = member{link: path.Join("/", path.Dir(name), h.Linkname)[1:]}
		case tar.TypeLink:
			a.members[name] = member{link: path.Clean("/" + h.Linkname)[1:]}
		}
	}
}

// maxArchiveLinks bounds links to links; "docker save" once wrote links from one layer to
// another's tar.
const maxArchiveLinks = 8

func (a *archive) find(p string) (member, error) {
	name := path.Clean("/" + p)[1:]
	for range maxArchiveLinks {
		m, ok := a.members[name]
		if !ok {
			break
		}
		if m.link == "" {
			return m, nil
		}
		name = m.link
	}
	return member{}, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
}

// openFile implements fileSource.
func (a *archive) openFile(p string) (io.ReadCloser, error) {
	m, err := a.find(p)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(io.NewSectionReader(a.r, m.offset, m.size)), nil
}
