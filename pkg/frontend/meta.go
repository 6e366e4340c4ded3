package frontend

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/slipway-build/slipway/pkg/op"
)

// understoodCaps reports whether the decoder understands an operation that needs a capability
// of LLB. It is a list of its own, rather than BuildKit's, so that a capability of a later
// version is refused until somebody has looked at it. Some of those in it are refused where
// they occur, with a better message.
func understoodCaps(id apicaps.CapID) bool {
	switch id {
	case pb.CapSourceImage, pb.CapSourceImageResolveMode, pb.CapSourceOCILayout,
		pb.CapSourceLocal, pb.CapSourceLocalUnique, pb.CapSourceLocalSessionID,
		pb.CapSourceLocalIncludePatterns, pb.CapSourceLocalFollowPaths,
		pb.CapSourceLocalExcludePatterns, pb.CapSourceLocalSharedKeyHint, pb.CapSourceLocalDiffer,
		pb.CapSourceGit, pb.CapSourceGitKeepDir, pb.CapSourceGitFullURL, pb.CapSourceGitHTTPAuth,
		pb.CapSourceGitKnownSSHHosts, pb.CapSourceGitMountSSHSock, pb.CapSourceGitSubdir,
		pb.CapSourceGitChecksum, pb.CapSourceGitSkipSubmodules, pb.CapSourceGitMTime,
		pb.CapSourceGitFetchByCommit,
		pb.CapSourceHTTP, pb.CapSourceHTTPAuth, pb.CapSourceHTTPChecksum, pb.CapSourceHTTPHeader,
		pb.CapSourceHTTPPerm, pb.CapSourceHTTPUIDGID,
		pb.CapExecMetaBase, pb.CapExecMetaCgroupParent, pb.CapExecMetaNetwork, pb.CapExecMetaProxy,
		pb.CapExecMetaSecurity, pb.CapExecMetaSetsDefaultPath, pb.CapExecMetaUlimit,
		pb.CapExecMetaCDI, pb.CapExecMetaRemoveMountStubsRecursive, pb.CapExecMetaLinuxResources,
		pb.CapExecMountBind, pb.CapExecMountBindReadWriteNoOutput, pb.CapExecMountCache,
		pb.CapExecMountCacheSharing, pb.CapExecMountSelector, pb.CapExecMountTmpfs,
		pb.CapExecMountTmpfsSize, pb.CapExecMountSecret, pb.CapExecMountSSH, pb.CapExecSecretEnv,
		pb.CapFileBase, pb.CapFileCopyIncludeExcludePatterns, pb.CapFileCopyRequiredPaths,
		pb.CapFileCopyAlwaysReplaceExistingDestPaths, pb.CapFileCopyModeStringFormat,
		pb.CapConstraints, pb.CapPlatform, pb.CapMetaIgnoreCache, pb.CapMetaDescription,
		pb.CapMergeOp:
		return true
	}
	return false
}

// check refuses what decoding would overlook: capabilities, fields that this version of LLB
// does not have, and settings of the metadata that nobody reads.
func (o *rawOp) check() error {
	for _, id := range slices.Sorted(maps.Keys(o.meta.GetCaps())) {
		if o.meta.GetCaps()[id] && !understoodCaps(apicaps.CapID(id)) {
			return &UnsupportedError{What: fmt.Sprintf("the build capability %q", id)}
		}
	}
	if f := unknownField(o.pb.ProtoReflect()); f != "" {
		return &UnsupportedError{What: "an unknown field in " + f}
	}
	if f := unknownField(o.meta.ProtoReflect()); f != "" {
		return &UnsupportedError{What: "an unknown field in " + f}
	}
	if o.meta.GetExportCache() != nil {
		return &UnsupportedError{What: "a cache export setting for a single step"}
	}
	if f := o.pb.GetConstraints().GetFilter(); len(f) > 0 {
		return &UnsupportedError{What: fmt.Sprintf("the choice of a build worker by %q", f)}
	}
	if o.meta.GetLinuxResources() != nil && o.pb.GetExec() == nil {
		return &UnsupportedError{What: "a resource limit for anything but RUN"}
	}
	return nil
}

// unknownField finds a message in m, or m itself, that has fields which its definition does
// not; it returns the message's name, "" if there is none.
func unknownField(m protoreflect.Message) (found string) {
	if len(m.GetUnknown()) > 0 {
		return string(m.Descriptor().Name())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap():
			// The maps of LLB's operations have plain values.
		case f.IsList():
			for i := range v.List().Len() {
				if found = unknownField(v.List().Get(i).Message()); found != "" {
					break
				}
			}
		default:
			found = unknownField(v.Message())
		}
		return found == ""
	})
	return found
}

// The entries of a vertex's description that have a meaning. Others are texts for clients.
const (
	descriptionName    = "llb.customname"
	descriptionCommand = "com.docker.dockerfile.v1.command"
)

// vertex returns the vertex with everything but its operation and inputs.
func (o *rawOp) vertex() *op.Vertex {
	name := o.name()
	if o.pb.GetSource() != nil {
		name = withoutCredentials(name)
	}
	v := &op.Vertex{
		ID:        string(o.dgst),
		Name:      name,
		NoCache:   o.meta.GetIgnoreCache(),
		Locations: o.locations,
	}
	v.Internal = strings.HasPrefix(v.Name, "[internal]")
	if g := o.meta.GetProgressGroup(); g != nil {
		v.ProgressGroup = &op.ProgressGroup{ID: g.GetId(), Name: g.GetName(), Weak: g.GetWeak()}
	}
	return v
}

// withoutCredentials takes users and passwords out of the URLs in the name of a source, which is as it was
// given on the command line.
func withoutCredentials(name string) string {
	words := strings.Split(name, " ")
	for i, w := range words {
		if scheme, rest, ok := strings.Cut(w, "://"); ok && scheme != "" && strings.Contains(rest, "@") {
			words[i] = op.RedactURL(w)
		}
	}
	return strings.Join(words, " ")
}

func (o *rawOp) name() string {
	for _, key := range []string{descriptionName, descriptionCommand} {
		if name := o.meta.GetDescription()[key]; name != "" {
			return name
		}
	}
	switch kind := o.pb.GetOp().(type) {
	case *pb.Op_Source:
		return kind.Source.GetIdentifier()
	case *pb.Op_Exec:
		return strings.Join(kind.Exec.GetMeta().GetArgs(), " ")
	}
	return opKind(o.pb)
}
