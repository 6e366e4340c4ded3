package layer

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"strings"
	"time"
)

// WriteTar writes l as an uncompressed OCI layer and returns the index that reading it
// gives. What it writes depends on the index and the contents only:
//
//   - Entries come in tree order. Of a file with several names the first carries the content
//     and the others are hard links to it.
//   - USTAR headers, with PAX records where USTAR cannot say it; never GNU's extensions.
//   - Owners are numbers; names of users and groups stay empty.
//   - Modification times are whole seconds, rounded down: as BuildKit and containerd
//     write them, so that a file's time needs no PAX record. There are no access and
//     change times.
//   - A whiteout is an empty file ".wh.NAME" with mode 0 and the time 0; an opaque directory is
//     followed by such a file ".wh..wh..opq".
//   - Extended attributes are SCHILY.xattr records.
//
// A name that OCI layers reserve (".wh.…"), or an extended attribute whose name has "=", cannot be
// written and gives an error.
func WriteTar(ctx context.Context, w io.Writer, l Layer) (*Index, error) {
	s, err := writeTar(ctx, w, l)
	if err != nil {
		return nil, err
	}
	return s.index, nil
}

// serial says what has been written.
type serial struct {
	index  *Index // of the tar
	source *Index // of the layer
	places []int  // by position in index: where in source the content is
}

func writeTar(ctx context.Context, w io.Writer, l Layer) (*serial, error) {
	x, err := l.Index(ctx)
	if err != nil {
		return nil, err
	}
	entries, places, err := writtenForm(x)
	if err != nil {
		return nil, fmt.Errorf("writing layer: %w", err)
	}
	t := &tarWriter{
		layer: l,
		index: x,
		tar:   tar.NewWriter(w),
		hash:  sha256.New(),
		buf:   make([]byte, 128<<10),
	}
	t.ahead = readAhead(ctx, l, x, entries, places)
	defer t.ahead.stop()
	for i := range entries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := t.entry(ctx, &entries[i], places[i]); err != nil {
			return nil, fmt.Errorf("writing layer: %q: %w", entries[i].Path, err)
		}
	}
	if err := t.tar.Close(); err != nil {
		return nil, fmt.Errorf("writing layer: %w", err)
	}
	written, err := NewIndex(entries)
	if err != nil {
		return nil, err
	}
	return &serial{index: written, source: x, places: places}, nil
}

type tarWriter struct {
	layer Layer
	index *Index
	tar   *tar.Writer
	ahead *ahead
	hash  hash.Hash
	buf   []byte
}

// entry writes one entry, with the content of the entry at the given position of the layer's
// own index, and completes e by the sum of its content.
func (t *tarWriter) entry(ctx context.Context, e *Entry, content int) error {
	h, err := headerOf(e)
	if err != nil {
		return err
	}
	if err := t.tar.WriteHeader(h); err != nil {
		return err
	}
	if e.Type == Regular {
		if err := t.content(ctx, e, content); err != nil {
			return err
		}
	}
	if e.Opaque {
		return t.tar.WriteHeader(marker(joinPath(e.Path, opaqueMarker)))
	}
	return nil
}

func (t *tarWriter) content(ctx context.Context, e *Entry, i int) error {
	if e.Size == 0 {
		e.Sum = emptySum
		return nil
	}
	if isSmall(e) {
		return t.small(ctx, e)
	}
	rc, err := OpenAt(ctx, t.layer, t.index, i)
	if err != nil {
		return err
	}
	defer rc.Close()
	var w io.Writer = t.tar
	if e.Sum.IsZero() {
		t.hash.Reset()
		w = io.MultiWriter(t.tar, t.hash)
	}
	// Read on to the end of the source, which is what notices that it has changed.
	n, err := io.CopyBuffer(onlyWriter{w}, onlyReader{rc}, t.buf)
	switch {
	case err != nil:
		return err
	case n != e.Size:
		return fmt.Errorf("content has %d bytes instead of %d", n, e.Size)
	}
	if e.Sum.IsZero() {
		t.hash.Sum(e.Sum[:0])
	}
	return nil
}

// small writes the content of a file that was read before.
func (t *tarWriter) small(ctx context.Context, e *Entry) error {
	s, err := t.ahead.next(ctx)
	if err != nil {
		return err
	}
	defer t.ahead.done(s)
	if e.Sum.IsZero() {
		e.Sum = s.sum
	}
	_, err = t.tar.Write(s.data)
	return err
}

// onlyWriter hides ReaderFrom, so that the buffer we have is the one that is used.
type onlyWriter struct{ io.Writer }

// writtenForm brings the entries of x into the form in which they are read back: times in
// seconds, and the first name of an inode before the hard links to it. It also says at
// which position of x the content of each lies.
func writtenForm(x *Index) (entries []Entry, places []int, err error) {
	entries, places = make([]Entry, x.Len()), make([]int, x.Len())
	first := map[int]int{} // from an inode's entry to its first name
	for i := range entries {
		e := x.At(i)
		if strings.HasPrefix(base(e.Path), whiteoutPrefix) {
			return nil, nil, fmt.Errorf("%q: names that begin with %q cannot be stored in an image layer", e.Path, whiteoutPrefix)
		}
		entries[i], places[i] = secondsOf(*e), i
		if e.Type != Hardlink {
			continue
		}
		target, ok, err := x.inode(i)
		if err != nil {
			return nil, nil, err
		}
		if !ok { // a file of a lower layer
			entries[i].Link = x.At(target).Link
			continue
		}
		places[i] = target
		if _, ok := first[target]; !ok {
			first[target] = min(i, target)
		}
	}
	for i := range entries {
		owner, linked := first[places[i]]
		if !linked {
			continue
		}
		e, p := secondsOf(*x.At(places[i])), entries[i].Path
		if i != owner {
			e = hardlinkTo(&e, entries[owner].Path)
		}
		entries[i] = e
		entries[i].Path = p
	}
	return entries, places, nil
}

// secondsOf is e with what the tar will say of it.
func secondsOf(e Entry) Entry {
	if e.Type == Whiteout {
		return whiteout(e.Path)
	}
	if e.ModTime.IsZero() { // archive/tar takes this for 1970 too
		e.ModTime = time.Unix(0, 0)
	}
	e.ModTime = time.Unix(e.ModTime.Unix(), 0).UTC()
	return e
}

// whiteout is the entry that deletes p.
func whiteout(p string) Entry {
	return Entry{Path: p, Type: Whiteout, ModTime: time.Unix(0, 0).UTC()}
}

// inode follows the hard link at position i to the entry whose inode it shares. It is false
// if that is in a lower layer; the position is then that of the last link.
func (x *Index) inode(i int) (int, bool, error) {
	for range maxLinks {
		j, ok := x.Find(x.At(i).Link)
		if !ok {
			return i, false, nil
		}
		switch x.At(j).Type {
		case Hardlink:
			i = j
		case Directory:
			return 0, false, fmt.Errorf("%q is a hard link to the directory %q", x.At(i).Path, x.At(j).Path)
		case Whiteout:
			return i, false, nil
		default:
			return j, true, nil
		}
	}
	return 0, false, fmt.Errorf("%q is a hard link through too many hard links", x.At(i).Path)
}

func base(p string) string {
	_, b := splitPath(p)
	return b
}

// marker is the header of a whiteout file.
func marker(name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, ModTime: time.Unix(0, 0)}
}

// headerOf translates an entry. It leaves the format open, for which archive/tar takes
// USTAR if it can and else PAX.
func headerOf(e *Entry) (*tar.Header, error) {
	h := &tar.Header{
		Name:    e.Path,
		Mode:    int64(e.Mode),
		Uid:     int(e.UID),
		Gid:     int(e.GID),
		ModTime: e.ModTime,
	}
	switch e.Type {
	case Regular:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	case Directory:
		h.Typeflag = tar.TypeDir
		if h.Name += "/"; e.Path == "" {
			h.Name = "./"
		}
	case Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Link
	case Hardlink:
		h.Typeflag, h.Linkname = tar.TypeLink, e.Link
	case CharDevice, BlockDevice:
		h.Typeflag = tar.TypeChar
		if e.Type == BlockDevice {
			h.Typeflag = tar.TypeBlock
		}
		if e.Major > maxDevice || e.Minor > maxDevice {
			return nil, fmt.Errorf("device number %d:%d cannot be stored in a tar", e.Major, e.Minor)
		}
		h.Devmajor, h.Devminor = int64(e.Major), int64(e.Minor)
	case Fifo:
		h.Typeflag = tar.TypeFifo
	case Whiteout:
		dir, name := splitPath(e.Path)
		return marker(joinPath(dir, whiteoutPrefix+name)), nil
	}
	return h, addXattrs(h, e.Xattrs)
}

// maxDevice is what the seven octal digits of a USTAR header hold. Linux has 12 bits for the
// major and 20 for the minor number.
const maxDevice = 1<<21 - 1

func addXattrs(h *tar.Header, xattrs map[string]string) error {
	if len(xattrs) == 0 {
		return nil
	}
	h.PAXRecords = make(map[string]string, len(xattrs))
	for name, value := range xattrs {
		if strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("extended attribute %q cannot be stored in a tar", name)
		}
		h.PAXRecords[xattrPrefix+name] = value
	}
	return nil
}
