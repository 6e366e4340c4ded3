package frontend

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/op"
)

// decodeGit decodes "HOST/PATH[#REF[:SUBDIR]]" and what the attributes add.
func decodeGit(ref string, attrs map[string]string) (*op.Git, error) {
	repository, fragment, _ := strings.Cut(ref, "#")
	g := &op.Git{URL: "https://" + repository}
	g.Ref, g.Subdir, _ = strings.Cut(fragment, ":")
	for _, key := range slices.Sorted(maps.Keys(attrs)) {
		value := attrs[key]
		switch key {
		case pb.AttrFullRemoteURL:
			g.URL = value
			if !strings.Contains(value, ":") {
				g.URL = "https://" + value
			}
		case pb.AttrKeepGitDir:
			g.KeepGitDir = value == "true"
		case pb.AttrGitSkipSubmodules:
			g.SkipSubmodules = value == "true"
		case pb.AttrGitFetchByCommit:
			g.ByCommit = value == "true"
		case pb.AttrGitChecksum:
			g.Checksum = value
		case pb.AttrGitMTime:
			switch value {
			case "commit":
				g.CommitTime = true
			case "", "checkout":
			default:
				return nil, fmt.Errorf("%s: file times %q are neither those of the commit nor of the checkout", ref, value)
			}
		case pb.AttrAuthTokenSecret:
			g.AuthTokenSecret = value
		case pb.AttrAuthHeaderSecret:
			g.AuthHeaderSecret = value
		case pb.AttrKnownSSHHosts:
			g.KnownHosts = value
		case pb.AttrMountSSHSock:
			g.Agent = value
		case pb.AttrGitAdvice:
			// It is about hints that the git program prints.
		default:
			return nil, unsupportedAttr("git repository "+ref, key)
		}
	}
	return g, nil
}
