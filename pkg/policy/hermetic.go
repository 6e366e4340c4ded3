package policy

import (
	"regexp"
	"strings"

	"github.com/moby/buildkit/solver/pb"
)

// hermeticPolicy is what the policy of [Sources.Hermetic] is called.
const hermeticPolicy = "--hermetic"

// Hermetic is the policy with one more rule, after all others: what comes from elsewhere must be pinned, so that it is the same
// whenever it is fetched. It may be used on a nil policy.
func (s *Sources) Hermetic() *Sources {
	h := &Sources{pinned: true}
	if s != nil {
		h.file, h.engine, h.settled = s.file, s.engine, s.settled
	}
	return h
}

// commit is a full hash of a git commit.
var commit = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// unpinned says what a source lacks; "" if it is pinned, or on this machine.
func unpinned(s Source) string {
	scheme, rest, _ := strings.Cut(s.Identifier, "://")
	switch scheme {
	case "docker-image":
		if !strings.Contains(rest, "@sha256:") && !strings.Contains(rest, "@sha512:") {
			return "its digest is not given (NAME@sha256:…)"
		}
	case "http", "https":
		if s.Attrs[pb.AttrHTTPChecksum] == "" {
			return "its checksum is not given (ADD --checksum=sha256:…)"
		}
	case "git":
		_, ref, _ := strings.Cut(rest, "#")
		ref, _, _ = strings.Cut(ref, ":")
		if !commit.MatchString(s.Attrs[pb.AttrGitChecksum]) && !commit.MatchString(ref) {
			return "its commit is not given in full (#COMMIT, or ADD --checksum=COMMIT)"
		}
	case "local", "oci-layout": // which are there already, or named by a digest
	default:
		return "nothing says what its content must be"
	}
	return ""
}
