package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
	"strings"
)

// xattrPrefix marks extended attributes in PAX records, as Joerg Schilling's star introduced and
// everybody adopted (OCI image spec, layer.md, "File Attributes").
const xattrPrefix = "SCHILY.xattr."

// entryOf translates a tar header. Owner names are dropped: numbers are what a root
// filesystem has. Access and change times, ACLs in other forms than extended attributes,
// and flags of BSD are dropped as the container runtimes do.
func entryOf(h *tar.Header) (Entry, error) {
	e := Entry{Mode: uint16(h.Mode & 0o7777), ModTime: h.ModTime.UTC()}
	var err error
	if e.Path, err = cleanName(h.Name); err != nil {
		return Entry{}, err
	}
	if e.UID, err = number("owner", int64(h.Uid)); err != nil {
		return Entry{}, err
	}
	if e.GID, err = number("group", int64(h.Gid)); err != nil {
		return Entry{}, err
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		e.Type, e.Size = Regular, h.Size
	case tar.TypeDir:
		e.Type = Directory
	case tar.TypeFifo:
		e.Type = Fifo
	case tar.TypeSymlink:
		e.Type, e.Link = Symlink, h.Linkname
		err = checkSymlink(h.Linkname)
	case tar.TypeLink:
		e.Type = Hardlink
		e.Link, err = hardlinkTarget(h.Linkname)
	case tar.TypeChar, tar.TypeBlock:
		e.Type = CharDevice
		if h.Typeflag == tar.TypeBlock {
			e.Type = BlockDevice
		}
		if e.Major, err = number("major device", h.Devmajor); err == nil {
			e.Minor, err = number("minor device", h.Devminor)
		}
	default:
		err = fmt.Errorf("has unknown type %q", h.Typeflag)
	}
	if err != nil {
		return Entry{}, err
	}
	if e.Type != Hardlink {
		e.Xattrs = xattrsOf(h)
	}
	return e, nil
}

func number(what string, n int64) (uint32, error) {
	if n < 0 || n > math.MaxUint32 {
		return 0, fmt.Errorf("has %s number %d", what, n)
	}
	return uint32(n), nil
}

func checkSymlink(target string) error {
	switch {
	case target == "":
		return errors.New("is a symbolic link to nothing")
	case len(target) > maxPath:
		return fmt.Errorf("is a symbolic link whose target %w", errTooLong)
	}
	return nil
}

func hardlinkTarget(name string) (string, error) {
	p, err := cleanName(name)
	switch {
	case err != nil:
		return "", fmt.Errorf("is a hard link to %q, which %w", name, err)
	case p == "":
		return "", errors.New("is a hard link to the root")
	}
	return p, nil
}

func xattrsOf(h *tar.Header) map[string]string {
	var xattrs map[string]string
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok || name == "" {
			continue
		}
		if xattrs == nil {
			xattrs = map[string]string{}
		}
		xattrs[name] = value
	}
	return xattrs
}
