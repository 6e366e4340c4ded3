package layer

import (
	"errors"
	"strings"
)

// How OCI layers spell deletions (OCI image spec, layer.md, "Whiteouts"), and AUFS before
// them.
const (
	whiteoutPrefix = ".wh."
	metaPrefix     = ".wh..wh."
	opaqueMarker   = ".wh..wh..opq"
	// linkStore is where AUFS kept files that have several names. Old Docker
	// layers hold such files here, and their names as hard links to them.
	linkStore = ".wh..wh.plnk"
)

var errBadWhiteout = errors.New("is no valid whiteout")

// nameKind is what a name means in a layer.
type nameKind uint8

const (
	plainName    nameKind = iota
	whiteoutName          // deletes what lower layers have at the path
	opaqueName            // makes the directory opaque
	ignoredName           // metadata of AUFS, without meaning
	hiddenName            // not part of the filesystem, but hard links may point to it
)

// parseName says what the tar entry at path p means, and for which path it does.
func parseName(p string) (nameKind, string, error) {
	if !strings.Contains(p, whiteoutPrefix) {
		return plainName, p, nil
	}
	if strings.HasPrefix(p, linkStore+"/") {
		return hiddenName, p, nil
	}
	dir, base := splitPath(p)
	for part := range strings.SplitSeq(dir, "/") {
		switch {
		case strings.HasPrefix(part, metaPrefix):
			return ignoredName, p, nil
		case strings.HasPrefix(part, whiteoutPrefix):
			return plainName, p, errBadWhiteout
		}
	}
	switch {
	case base == opaqueMarker:
		return opaqueName, dir, nil
	case strings.HasPrefix(base, metaPrefix):
		return ignoredName, p, nil
	case !strings.HasPrefix(base, whiteoutPrefix):
		return plainName, p, nil
	}
	gone := base[len(whiteoutPrefix):]
	if gone == "" || gone == "." || gone == ".." {
		return plainName, p, errBadWhiteout
	}
	return whiteoutName, joinPath(dir, gone), nil
}
