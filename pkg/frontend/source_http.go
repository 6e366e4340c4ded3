package frontend

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
)

// HTTP is the download that a source policy's source stands for.
func HTTP(s policy.Source) (*op.HTTP, error) {
	if !strings.HasPrefix(s.Identifier, schemeHTTP+"://") && !strings.HasPrefix(s.Identifier, schemeHTTPS+"://") {
		return nil, fmt.Errorf("the source policy replaces a URL by %s, which is none", op.RedactURL(s.Identifier))
	}
	o, err := decodeHTTP(s.Identifier, s.Attrs)
	if err != nil {
		return nil, err
	}
	return o.(*op.HTTP), nil
}

func decodeHTTP(url string, attrs map[string]string) (op.Op, error) {
	h := &op.HTTP{URL: url, Mode: 0o600}
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		value := attrs[key]
		var err error
		switch key {
		case pb.AttrHTTPFilename:
			h.Filename = value
		case pb.AttrHTTPChecksum:
			h.Sum, err = sha256Sum(value)
		case pb.AttrHTTPPerm:
			var mode uint64
			if mode, err = number(value, 12); mode != 0 {
				h.Mode = uint16(mode)
			}
		case pb.AttrHTTPUID:
			h.UID, err = ownerID(value)
		case pb.AttrHTTPGID:
			h.GID, err = ownerID(value)
		case pb.AttrHTTPAuthHeaderSecret:
			h.AuthHeaderSecret = value
		default:
			name, ok := strings.CutPrefix(key, pb.AttrHTTPHeaderPrefix)
			name = http.CanonicalHeaderKey(name)
			if !ok || name != "Accept" && name != "User-Agent" {
				return nil, unsupportedAttr(url, key)
			}
			if h.Header == nil {
				h.Header = map[string]string{}
			}
			h.Header[name] = value
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %s %q: %w", url, key, value, err)
		}
	}
	return h, nil
}

func sha256Sum(value string) (sum layer.Sum, err error) {
	d, err := digest.Parse(value)
	if err != nil {
		return sum, err
	}
	if d.Algorithm() != digest.SHA256 {
		return sum, &UnsupportedError{What: "the digest algorithm " + string(d.Algorithm()), Reason: "only sha256 is"}
	}
	if _, err := hex.Decode(sum[:], []byte(d.Encoded())); err != nil {
		return sum, err
	}
	if sum.IsZero() { // which would mean that there is none to check
		return sum, errors.New("no file has this digest")
	}
	return sum, nil
}

func ownerID(value string) (uint32, error) {
	n, err := number(value, 32)
	return uint32(n), err
}

func number(value string, bits int) (uint64, error) {
	return strconv.ParseUint(value, 0, bits)
}
