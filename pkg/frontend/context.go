package frontend

import (
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/archiveutil"

	"github.com/slipway-build/slipway/pkg/policy"
)

// IsRemoteContext reports whether a context is a URL or a git repository by the frontend's rules, so
// that it is given to the frontend rather than looked for on this machine.
func IsRemoteContext(context string) bool {
	return isURL(context) || isGit(context)
}

func isURL(context string) bool {
	return strings.HasPrefix(context, "http://") || strings.HasPrefix(context, "https://")
}

func isGit(context string) bool {
	_, ok, _ := dfgitutil.ParseGitRef(context) // what is wrong with it the frontend will say
	return ok
}

// WebContext is the source that the frontend makes of a context that is a URL of one file, for a source policy; false if it is anything
// else, as a git repository.
func WebContext(context string) (policy.Source, bool) {
	if isGit(context) || !isURL(context) {
		return policy.Source{}, false
	}
	return policy.Source{Identifier: context, Attrs: map[string]string{pb.AttrHTTPFilename: "context"}}, true
}

// IsArchive reports whether a file that begins with head is an archive by the frontend's rules: then a
// context is unpacked, and else taken for a Dockerfile. 1024 bytes are enough.
func IsArchive(head []byte) bool { return archiveutil.IsArchive(head) }
