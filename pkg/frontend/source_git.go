package frontend

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/gitutil"

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
			url := value
			if !strings.Contains(value, ":") {
				url = "https://" + value
			}
			if err := checkSame(g.URL, url); err != nil {
				return nil, err
			}
			g.URL = url
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
			// It lets the git program print its hints. Here there is no such program, and nobody who hints.
		default:
			return nil, unsupportedAttr("git repository "+ref, key)
		}
	}
	return g, nil
}

// checkSame makes sure that two addresses differ only in how the repository is reached. They always do,
// unless a source policy has changed one of them alone: which one counts is not for us to choose.
func checkSame(a, b string) error {
	first, err := gitutil.ParseURL(a)
	if err != nil {
		return fmt.Errorf("git repository %s: %w", op.RedactURL(a), err)
	}
	second, err := gitutil.ParseURL(b)
	if err != nil {
		return fmt.Errorf("git repository %s: %w", op.RedactURL(b), err)
	}
	name := func(p string) string { return strings.TrimSuffix(path.Join("/", p), ".git") }
	if !strings.EqualFold(first.Host, second.Host) || name(first.Path) != name(second.Path) {
		return fmt.Errorf("git repository %s: %s names another one, %s", op.RedactURL(a), pb.AttrFullRemoteURL, op.RedactURL(b))
	}
	return nil
}
