package frontend

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	imageref "github.com/distribution/reference"
	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/op"
)

// decodeSource decodes an operation that has no inputs: it brings something in from outside.
func decodeSource(o *rawOp, inputs int) (op.Op, error) {
	if inputs > 0 {
		return nil, fmt.Errorf("build graph: a source has %d inputs", inputs)
	}
	id, attrs := o.pb.GetSource().GetIdentifier(), o.pb.GetSource().GetAttrs()
	scheme, ref, ok := strings.Cut(id, "://")
	if !ok {
		return nil, fmt.Errorf("build graph: source %q has no scheme", id)
	}
	switch scheme {
	case schemeLocal:
		return decodeLocal(ref, attrs)
	case schemeImage:
		return decodeImage(ref, attrs, fromPB(o.pb.GetPlatform()))
	case schemeLayout:
		return decodeLayout(ref, attrs, fromPB(o.pb.GetPlatform()))
	case schemeHTTP, schemeHTTPS:
		return decodeHTTP(id, attrs)
	case schemeGit:
		return decodeGit(ref, attrs)
	}
	return nil, unsupportedSource(id)
}

func unsupportedSource(id string) error {
	return &UnsupportedError{What: fmt.Sprintf("the source %q", id)}
}

func decodeLocal(name string, attrs map[string]string) (op.Op, error) {
	l := &op.Local{Name: name}
	if name == "" {
		return nil, fmt.Errorf("build graph: a local source has no name")
	}
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		value := attrs[key]
		var err error
		switch key {
		case pb.AttrIncludePatterns:
			l.Include, err = patternList(value)
		case pb.AttrExcludePatterns:
			l.Exclude, err = patternList(value)
		case pb.AttrFollowPaths:
			l.FollowPaths, err = patternList(value)
		case pb.AttrLocalSessionID, pb.AttrLocalUniqueID, pb.AttrSharedKeyHint, pb.AttrLocalDiffer:
			// They tell a daemon where the files come from and how it may
			// keep them. Here they are on the same machine.
		default:
			return nil, unsupportedAttr("local source "+name, key)
		}
		if err != nil {
			return nil, fmt.Errorf("build graph: local source %s: %s: %w", name, key, err)
		}
	}
	return l, nil
}

// patternList decodes a JSON list; an empty one is nil.
func patternList(value string) ([]string, error) {
	var list []string
	if err := json.Unmarshal([]byte(value), &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list, nil
}

func decodeImage(ref string, attrs map[string]string, platform op.Platform) (op.Op, error) {
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		if key != pb.AttrImageResolveMode {
			return nil, unsupportedAttr("image "+ref, key)
		}
		// The reference was resolved before, in this mode; now it has a digest.
		switch mode := attrs[key]; mode {
		case pb.AttrImageResolveModeDefault, pb.AttrImageResolveModeForcePull, pb.AttrImageResolveModePreferLocal:
		default:
			return nil, &UnsupportedError{What: fmt.Sprintf("image resolve mode %q", mode)}
		}
	}
	if err := checkPinned(ref); err != nil {
		return nil, err
	}
	return &op.Image{Ref: ref, Platform: platform}, nil
}

func decodeLayout(ref string, attrs map[string]string, platform op.Platform) (op.Op, error) {
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		switch key {
		case pb.AttrOCILayoutStoreID, pb.AttrOCILayoutSessionID:
		default:
			return nil, unsupportedAttr("OCI layout "+ref, key)
		}
	}
	if err := checkPinned(ref); err != nil {
		return nil, err
	}
	layout := attrs[pb.AttrOCILayoutStoreID]
	if layout == "" {
		return nil, fmt.Errorf("build graph: OCI layout %s has no store", ref)
	}
	return &op.Image{Ref: ref, Platform: platform, Layout: layout}, nil
}

// checkPinned makes sure that the graph says which image exactly is meant.
func checkPinned(ref string) error {
	named, err := imageref.ParseNormalizedNamed(ref)
	if err != nil {
		return fmt.Errorf("image reference %q: %w", ref, err)
	}
	if _, ok := named.(imageref.Digested); !ok {
		return fmt.Errorf("image reference %q is not pinned by digest", ref)
	}
	return nil
}

func unsupportedAttr(source, key string) error {
	return &UnsupportedError{What: fmt.Sprintf("attribute %q of %s", key, source)}
}
