package op

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/layer"
)

// unpack unpacks the source of a match into the destination, as ADD does, and reports
// whether it was an archive. Neither modes nor timestamps nor patterns of the copy apply to
// what is in the archive; an owner does.
func (a *copyAction) unpack(ctx context.Context, m match) (_ bool, err error) {
	file, err := unpackable(a.src, m.path)
	if file == nil || err != nil {
		return false, err
	}
	if is, err := isArchive(ctx, file.body); !is {
		return false, err
	}
	dest, err := a.dst.rootPath(a.Dest)
	if err != nil {
		return false, err
	}
	dir, err := a.dst.mkdirAll(dest, newDirMode, a.own, a.Timestamp)
	if err != nil {
		return false, err
	}

	r, err := file.body.Open(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	z, _, err := compression.NewReader(r)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, z.Close()) }()
	u := unpacker{jail: jail{d: a.dst, root: dir}, own: a.own, spool: &spool{dir: a.env.State}}
	err = u.unpack(ctx, tar.NewReader(z))
	return true, errors.Join(err, u.spool.close())
}

// unpackable returns the regular file that p leads to, through symbolic links whatever the copy
// says about them; nil if it is anything else.
func unpackable(src *draft, p string) (*inode, error) {
	resolved, err := src.rootPath(p)
	if err != nil {
		return nil, err
	}
	ino, err := src.lstat(resolved)
	if isNotExist(err) {
		return nil, nil
	}
	if err != nil || !ino.isRegular() {
		return nil, err
	}
	return ino, nil
}

// unpacker unpacks one archive. It follows github.com/moby/go-archive, which BuildKit runs
// in a chroot of the destination: names that climb are held at the root of the jail, symbolic
// links on the way are followed inside of it, and entries named like whiteouts are
// ordinary files.
type unpacker struct {
	jail
	own   *ids // nil keeps the archive's owners
	spool *spool
	dirs  []unpackedDir
}

// unpackedDir is a directory whose time is set in the end.
type unpackedDir struct {
	name string
	time time.Time
}

// entries are those of a tar, as tar.Reader gives them.
type entries interface {
	Next() (*tar.Header, error)
	io.Reader // the content of the entry that Next gave
}

func (u *unpacker) unpack(ctx context.Context, tr entries) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := u.entry(hdr, tr); err != nil {
			return fmt.Errorf("entry %q: %w", hdr.Name, err)
		}
	}
	for _, dir := range u.dirs {
		at, err := u.find(dir.name, true)
		if err == nil && at.ino == nil {
			err = fs.ErrNotExist
		}
		if err != nil {
			return fmt.Errorf("entry %q: set time: %w", dir.name, err)
		}
		at.ino.setTime(&dir.time)
	}
	return nil
}

func (u *unpacker) entry(hdr *tar.Header, body io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if strings.ContainsRune(hdr.Name, 0) || strings.ContainsRune(hdr.Linkname, 0) {
		return fs.ErrInvalid // no system call could take it
	}
	name := path.Clean(hdr.Name)
	if name == ".." || strings.HasPrefix(name, "../") {
		return errors.New("climbs out of the destination")
	}
	if err := u.implyParent(name); err != nil {
		return err
	}
	at, err := u.find(name, false)
	if err != nil {
		return err
	}
	if at.ino != nil {
		if at.ino.isDir() && name == "." {
			return nil
		}
		if !at.ino.isDir() || hdr.Typeflag != tar.TypeDir {
			if at.dir == nil {
				return errors.New("would replace the destination itself")
			}
			u.d.remove(at.dir, at.name)
			// What went may have been a link on the way to itself.
			if at, err = u.find(name, false); err != nil {
				return err
			}
		}
	}
	ino, err := u.create(at, hdr, body)
	if err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeDir {
		u.dirs = append(u.dirs, unpackedDir{name, boundTime(hdr.ModTime)})
	}
	return u.setInfo(ino, hdr)
}

// implyParent makes the parent directories that the archive does not list.
func (u *unpacker) implyParent(name string) error {
	if name == "/" {
		return nil
	}
	parent := path.Dir(name)
	if at, err := u.find(parent, false); err == nil && at.ino != nil || err != nil && !isNotExist(err) {
		return nil // what is wrong with it shows when the entry is made
	}
	return u.mkdirAll(parent)
}

// create makes the file of an entry, without its metadata.
func (u *unpacker) create(at spot, hdr *tar.Header, body io.Reader) (*inode, error) {
	switch hdr.Typeflag {
	case tar.TypeDir:
		if at.ino != nil {
			return at.ino, nil
		}
		return u.d.make(at.dir, at.name, layer.Entry{Type: layer.Directory}), nil
	case tar.TypeReg:
		return u.createRegular(at, body)
	case tar.TypeLink:
		return u.createLink(at, hdr.Linkname)
	case tar.TypeSymlink:
		if hdr.Linkname == "" {
			return nil, fmt.Errorf("symbolic link to nothing: %w", syscall.ENOENT)
		}
		return u.d.make(at.dir, at.name, layer.Entry{Type: layer.Symlink, Mode: symlinkMode, Link: hdr.Linkname}), nil
	case tar.TypeChar:
		return u.createDevice(at, layer.CharDevice, hdr)
	case tar.TypeBlock:
		return u.createDevice(at, layer.BlockDevice, hdr)
	case tar.TypeFifo:
		return u.d.make(at.dir, at.name, layer.Entry{Type: layer.Fifo}), nil
	}
	return nil, fmt.Errorf("unhandled tar header type %q", hdr.Typeflag)
}

func (u *unpacker) createRegular(at spot, body io.Reader) (*inode, error) {
	c, err := u.spool.add(body)
	if err != nil {
		return nil, err
	}
	ino := u.d.make(at.dir, at.name, layer.Entry{Type: layer.Regular, Size: c.size, Sum: c.digest})
	ino.body = c
	return ino, nil
}

func (u *unpacker) createLink(at spot, target string) (*inode, error) {
	t, err := u.find(path.Join("/", target), false)
	if err != nil {
		return nil, fmt.Errorf("hard link: %w", err)
	}
	switch {
	case t.ino == nil:
		return nil, &fs.PathError{Op: "link", Path: target, Err: syscall.ENOENT}
	case t.ino.isDir():
		return nil, &fs.PathError{Op: "link", Path: target, Err: syscall.EPERM}
	}
	return u.d.link(at.dir, at.name, t.dir, t.name), nil
}

func (u *unpacker) createDevice(at spot, t layer.Type, hdr *tar.Header) (*inode, error) {
	if !fitsUint32(hdr.Devmajor) || !fitsUint32(hdr.Devminor) {
		return nil, fmt.Errorf("device number %d:%d is out of range", hdr.Devmajor, hdr.Devminor)
	}
	return u.d.make(at.dir, at.name, layer.Entry{Type: t, Major: uint32(hdr.Devmajor), Minor: uint32(hdr.Devminor)}), nil
}

// setInfo gives a file the metadata of its header, directories' times excepted.
func (u *unpacker) setInfo(ino *inode, hdr *tar.Header) error {
	e := ino.edit()
	if u.own != nil {
		ino.setOwner(u.own)
	} else {
		// The last number stands for "unchanged" in chown(2).
		if !fitsUint32(int64(hdr.Uid)+1) || !fitsUint32(int64(hdr.Gid)+1) || hdr.Uid < 0 || hdr.Gid < 0 {
			return fmt.Errorf("owner %d:%d is out of range", hdr.Uid, hdr.Gid)
		}
		e.UID, e.GID = uint32(hdr.Uid), uint32(hdr.Gid)
	}
	ino.addXattrs(tarXattrs(hdr, e.Type))
	if hdr.Typeflag == tar.TypeLink && e.Type == layer.Symlink {
		return nil // mode and time stay those of the symbolic link
	}
	if e.Type != layer.Symlink {
		e.Mode = uint16(hdr.Mode & 0o7777)
	}
	if hdr.Typeflag != tar.TypeDir {
		e.ModTime = boundTime(hdr.ModTime)
	}
	return nil
}

// tarXattrs returns the extended attributes of a header that a file of this type can have. What
// the kernel would refuse is left out, as in go-archive: user attributes of anything but
// files and directories (xattr(7)), unknown namespaces, and those by which overlayfs marks
// what it keeps for itself.
func tarXattrs(hdr *tar.Header, t layer.Type) map[string]string {
	var attrs map[string]string
	for record, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(record, "SCHILY.xattr.")
		if !ok || !settable(name, t) {
			continue
		}
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs[name] = value
	}
	return attrs
}

func settable(name string, t layer.Type) bool {
	namespace, rest, ok := strings.Cut(name, ".")
	if !ok || rest == "" || strings.HasPrefix(rest, "overlay.") {
		return false
	}
	switch namespace {
	case "user":
		return t == layer.Regular || t == layer.Directory
	case "security", "system", "trusted":
		return true
	}
	return false
}

// boundTime replaces times that do not fit a 64-bit count of nanoseconds since 1970 by its
// beginning.
func boundTime(t time.Time) time.Time {
	first, last := time.Unix(0, 0), time.Unix(0, math.MaxInt64)
	if t.Before(first) || t.After(last) {
		t = first
	}
	return t.UTC()
}

func fitsUint32(n int64) bool { return n >= 0 && n <= math.MaxUint32 }

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
