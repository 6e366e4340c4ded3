package frontend

import (
	"errors"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// What a Dockerfile can say and this version cannot do, with the line that says it.
func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		dockerfile string
		line       int
		message    string
	}{
		"checksum of another kind": {
			"FROM scratch\nADD --checksum=sha512:" + strings.Repeat("0", 128) + " https://example.com/a /\n", 2,
			"the digest algorithm sha512 is not supported",
		},
		"device": {
			"FROM busybox\nRUN --device=name=vendor.com/gpu=0,required true\n", 2, "RUN --device",
		},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, newProject(tt.dockerfile), tt.line, tt.message)
		})
	}
}

func TestUnknownOptionsAreRefused(t *testing.T) {
	for _, key := range []string{"attest:sbom", "cache-from", "cmdline", "frontend.caps", "targett"} {
		p := newProject("FROM scratch\n")
		p.opts.Extra = map[string]string{key: "x"}
		var unsupported *UnsupportedError
		if _, err := p.build(t.Context()); !errors.As(err, &unsupported) {
			t.Errorf("%s: error %v", key, err)
		}
	}
}

func TestSecretWithoutVariableNameIsRefused(t *testing.T) {
	p := newProject("FROM busybox\nRUN --mount=type=secret,id=s,env= true\n")
	_, err := p.build(t.Context())
	wantLocated(t, err, 2, `secret "s": "" is not the name of an environment variable`)
}

// definition serializes operations that use each other's first outputs: op i has its Inputs
// given by index. The last op is the result.
func definition(tb testing.TB, ops ...*pb.Op) *pb.Definition {
	tb.Helper()
	def := &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}
	add := func(o *pb.Op) *pb.Input {
		raw, err := o.Marshal()
		if err != nil {
			tb.Fatal(err)
		}
		def.Def = append(def.Def, raw)
		return &pb.Input{Digest: digest.FromBytes(raw).String()}
	}
	var last *pb.Input
	for _, o := range ops {
		if last != nil {
			o.Inputs = append(o.Inputs, last)
		}
		last = add(o)
	}
	add(&pb.Op{Inputs: []*pb.Input{last}})
	return def
}

func sourceOp(id string, attrs map[string]string) *pb.Op {
	return &pb.Op{
		Op:       &pb.Op_Source{Source: &pb.SourceOp{Identifier: id, Attrs: attrs}},
		Platform: &pb.Platform{OS: "linux", Architecture: "amd64"},
	}
}

func localOp() *pb.Op { return sourceOp("local://context", nil) }

// execOp is a valid RUN over one input, changed by edit.
func execOp(edit func(*pb.ExecOp)) *pb.Op {
	e := &pb.ExecOp{
		Meta:   &pb.Meta{Args: []string{"true"}, Cwd: "/", RemoveMountStubsRecursive: true},
		Mounts: []*pb.Mount{{Dest: "/"}},
	}
	edit(e)
	return &pb.Op{Op: &pb.Op_Exec{Exec: e}, Platform: &pb.Platform{OS: "linux", Architecture: "amd64"}}
}

func mountOp(m *pb.Mount) *pb.Op {
	return execOp(func(e *pb.ExecOp) { e.Mounts = append(e.Mounts, m) })
}

func fileOp(actions ...*pb.FileAction) *pb.Op {
	return &pb.Op{Op: &pb.Op_File{File: &pb.FileOp{Actions: actions}}}
}

func nothing(*pb.FileAction, *pb.FileActionCopy) {}

// copyOp is a valid COPY, changed by edit.
func copyOp(edit func(*pb.FileAction, *pb.FileActionCopy)) *pb.Op {
	c := &pb.FileActionCopy{Src: "/", Dest: "/", Mode: -1, Timestamp: -1}
	a := &pb.FileAction{Input: -1, SecondaryInput: 0, Action: &pb.FileAction_Copy{Copy: c}}
	edit(a, c)
	return fileOp(a)
}

// No Dockerfile gives these graphs with this version of BuildKit. A later one might.
func TestForeignDefinitionsAreRefused(t *testing.T) {
	image := "docker-image://busybox@" + digest.FromString("x").String()
	for name, tt := range map[string]struct {
		ops     []*pb.Op
		message string
	}{
		"diff":                 {[]*pb.Op{localOp(), {Op: &pb.Op_Diff{Diff: &pb.DiffOp{}}}}, "of kind diff is not supported"},
		"build":                {[]*pb.Op{localOp(), {Op: &pb.Op_Build{Build: &pb.BuildOp{}}}}, "of kind build is not supported"},
		"passthrough":          {[]*pb.Op{localOp(), {Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{}}}}, "of kind passthrough"},
		"no operation":         {[]*pb.Op{localOp(), {}}, "of kind unknown"},
		"worker":               {[]*pb.Op{{Op: localOp().Op, Constraints: &pb.WorkerConstraints{Filter: []string{"a"}}}}, "a build worker"},
		"merge order":          {[]*pb.Op{localOp(), {Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 1}}}}}}, "another order"},
		"merge inputs":         {[]*pb.Op{localOp(), {Op: &pb.Op_Merge{Merge: &pb.MergeOp{}}}}, "merge of 0 inputs has 1"},
		"scheme":               {[]*pb.Op{sourceOp("docker-image+blob://x", nil)}, `the source "docker-image+blob://x"`},
		"no scheme":            {[]*pb.Op{sourceOp("context", nil)}, "has no scheme"},
		"source with input":    {[]*pb.Op{localOp(), localOp()}, "a source has 1 inputs"},
		"local attribute":      {[]*pb.Op{sourceOp("local://context", map[string]string{pb.AttrMetadataTransfer: "true"})}, "attribute \"local.metadatatransfer\""},
		"local list":           {[]*pb.Op{sourceOp("local://context", map[string]string{pb.AttrFollowPaths: "x"})}, "local.followpaths"},
		"local name":           {[]*pb.Op{sourceOp("local://", nil)}, "no name"},
		"image attribute":      {[]*pb.Op{sourceOp(image, map[string]string{pb.AttrImageLayerLimit: "1"})}, "attribute \"image.layerlimit\""},
		"image mode":           {[]*pb.Op{sourceOp(image, map[string]string{pb.AttrImageResolveMode: "never"})}, `image resolve mode "never"`},
		"image without digest": {[]*pb.Op{sourceOp("docker-image://busybox:1", nil)}, "not pinned by digest"},
		"image reference":      {[]*pb.Op{sourceOp("docker-image://", nil)}, "image reference"},
		"layout attribute":     {[]*pb.Op{sourceOp(strings.Replace(image, "docker-image", "oci-layout", 1), map[string]string{pb.AttrOCILayoutLayerLimit: "1"})}, "attribute \"oci.layerlimit\""},
		"layout without name":  {[]*pb.Op{sourceOp(strings.Replace(image, "docker-image", "oci-layout", 1), nil)}, "has no store"},

		"no arguments":     {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Meta.Args = nil })}, "no arguments"},
		"no meta":          {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Meta = nil })}, "no arguments"},
		"relative cwd":     {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Meta.Cwd = "a" })}, "not an absolute path"},
		"exit codes":       {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Meta.ValidExitCodes = []int32{1} })}, "an exit code other than 0"},
		"mount stubs":      {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Meta.RemoveMountStubsRecursive = false })}, "mount points"},
		"network":          {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Network = 9 })}, "network mode 9"},
		"security":         {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Security = 9 })}, "security mode 9"},
		"host address":     {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Meta.ExtraHosts = []*pb.HostIP{{Host: "h", IP: "1"}} })}, `address of host "h"`},
		"host name":        {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Meta.ExtraHosts = []*pb.HostIP{{Host: "a\n::1 b", IP: "::1"}} })}, "not a host name"},
		"no mounts":        {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Mounts = nil })}, "0 root filesystems"},
		"two roots":        {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/", Output: 1})}, "2 root filesystems"},
		"read-only root":   {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Mounts[0].Readonly = true })}, "without a writable root"},
		"discarded root":   {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Mounts[0].Output = -1 })}, "without a writable root"},
		"tmpfs root":       {[]*pb.Op{localOp(), execOp(func(e *pb.ExecOp) { e.Mounts[0] = &pb.Mount{Input: -1, Dest: "/", MountType: pb.MountType_TMPFS} })}, "without a writable root"},
		"same output":      {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a"})}, "output 0 twice"},
		"output missing":   {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Output: 2})}, "lacks output 1"},
		"huge output":      {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Output: 1 << 62})}, "lacks output 1"},
		"mount input":      {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Input: 1, Output: -1})}, "there is no input 1"},
		"relative mount":   {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "a", Output: -1})}, "not an absolute path"},
		"mount type":       {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", MountType: 9, Input: -1})}, "mount /a: mount type 9"},
		"mount result":     {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Output: -1, ResultID: "r"})}, "another build's result"},
		"content cache":    {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Output: -1, ContentCache: pb.MountContentCache_ON})}, "content caching"},
		"foreign option":   {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Output: -1, CacheOpt: &pb.CacheOpt{ID: "x"}})}, "a cache option of a mount of type BIND"},
		"cache without id": {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Input: -1, Output: -1, MountType: pb.MountType_CACHE})}, "no id"},
		"cache sharing":    {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Input: -1, Output: -1, MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: "x", Sharing: 9}})}, "cache sharing mode 9"},
		"tmpfs content":    {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Output: -1, MountType: pb.MountType_TMPFS})}, "with content"},
		"tmpfs size":       {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Input: -1, Output: -1, MountType: pb.MountType_TMPFS, TmpfsOpt: &pb.TmpfsOpt{Size: -5}})}, "negative"},
		"secret mode":      {[]*pb.Op{localOp(), mountOp(&pb.Mount{Dest: "/a", Input: -1, MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{Mode: 0o10000}})}, "out of range"},

		"no actions":      {[]*pb.Op{localOp(), fileOp()}, "no actions"},
		"no action kind":  {[]*pb.Op{localOp(), fileOp(&pb.FileAction{})}, "unknown kind"},
		"rm":              {[]*pb.Op{localOp(), fileOp(&pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Rm{Rm: &pb.FileActionRm{Path: "/x"}}})}, "removes /x"},
		"symlink":         {[]*pb.Op{localOp(), fileOp(&pb.FileAction{SecondaryInput: -1, Action: &pb.FileAction_Symlink{Symlink: &pb.FileActionSymlink{Newpath: "/x"}}})}, "symbolic link /x"},
		"copy input":      {[]*pb.Op{localOp(), copyOp(func(a *pb.FileAction, _ *pb.FileActionCopy) { a.Input = 1 })}, "input 1 of 1"},
		"copy source":     {[]*pb.Op{localOp(), copyOp(func(a *pb.FileAction, _ *pb.FileActionCopy) { a.SecondaryInput = -2 })}, "input -2"},
		"no output":       {[]*pb.Op{localOp(), copyOp(func(a *pb.FileAction, _ *pb.FileActionCopy) { a.Output = -1 })}, "several results"},
		"second output":   {[]*pb.Op{localOp(), copyOp(func(a *pb.FileAction, _ *pb.FileActionCopy) { a.Output = 1 })}, "several results"},
		"relative source": {[]*pb.Op{localOp(), copyOp(func(_ *pb.FileAction, c *pb.FileActionCopy) { c.Src = "x" })}, "not an absolute path"},
		"relative target": {[]*pb.Op{localOp(), copyOp(func(_ *pb.FileAction, c *pb.FileActionCopy) { c.Dest = "" })}, "not an absolute path"},
		"mode":            {[]*pb.Op{localOp(), copyOp(func(_ *pb.FileAction, c *pb.FileActionCopy) { c.Mode = 0o10000 })}, "out of range"},
		"owner":           {[]*pb.Op{localOp(), copyOp(func(_ *pb.FileAction, c *pb.FileActionCopy) { c.Owner = &pb.ChownOpt{User: &pb.UserOpt{}} })}, "owner of unknown kind"},
		"owner's input": {[]*pb.Op{localOp(), copyOp(func(_ *pb.FileAction, c *pb.FileActionCopy) {
			c.Owner = &pb.ChownOpt{Group: &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: "g", Input: 3}}}}
		})}, "input 3 of 1"},
	} {
		t.Run(name, func(t *testing.T) {
			edge, err := newGraph().decode(t.Context(), definition(t, tt.ops...))
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("decoded to %v, error %v, want %q", edge, err, tt.message)
			}
		})
	}
}

func TestForeignMetadataIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		meta    *pb.OpMetadata
		message string
	}{
		"capability":   {&pb.OpMetadata{Caps: map[string]bool{"exec.meta.base": true, "exec.teleport": true}}, `capability "exec.teleport"`},
		"refused one":  {&pb.OpMetadata{Caps: map[string]bool{string(pb.CapExecMountContentCache): true}}, `"exec.mount.cache.content"`},
		"export cache": {&pb.OpMetadata{ExportCache: &pb.ExportCache{Value: true}}, "cache export"},
		"resources":    {&pb.OpMetadata{LinuxResources: &pb.LinuxResources{Memory: 1}}, "anything but RUN"},
	} {
		t.Run(name, func(t *testing.T) {
			def := definition(t, localOp())
			def.Metadata[digest.FromBytes(def.Def[0]).String()] = tt.meta
			if _, err := newGraph().decode(t.Context(), def); err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
	t.Run("not required", func(t *testing.T) {
		def := definition(t, localOp())
		def.Metadata[digest.FromBytes(def.Def[0]).String()] = &pb.OpMetadata{Caps: map[string]bool{"exec.teleport": false}}
		if _, err := newGraph().decode(t.Context(), def); err != nil {
			t.Error(err)
		}
	})
}

// Fields of later versions of LLB are kept by protobuf, and must not go unnoticed.
func TestUnknownFieldsAreRefused(t *testing.T) {
	unknown := []byte{0xa0, 0x3e, 1} // field 996, a number
	op := execOp(func(e *pb.ExecOp) { e.Mounts[0].ProtoReflect().SetUnknown(unknown) })
	_, err := newGraph().decode(t.Context(), definition(t, localOp(), op))
	if err == nil || !strings.Contains(err.Error(), "an unknown field in Mount") {
		t.Errorf("error %v", err)
	}
	def := definition(t, localOp())
	meta := &pb.OpMetadata{ProgressGroup: &pb.ProgressGroup{}}
	meta.ProgressGroup.ProtoReflect().SetUnknown(unknown)
	def.Metadata[digest.FromBytes(def.Def[0]).String()] = meta
	_, err = newGraph().decode(t.Context(), def)
	if err == nil || !strings.Contains(err.Error(), "an unknown field in ProgressGroup") {
		t.Errorf("error %v", err)
	}
}

func TestBrokenDefinitions(t *testing.T) {
	valid := definition(t, localOp(), copyOp(nothing))
	if _, err := newGraph().decode(t.Context(), valid); err != nil {
		t.Fatalf("the valid one: %v", err)
	}
	for name, def := range map[string]*pb.Definition{
		"no result":      {Def: valid.Def[:2]},
		"input missing":  {Def: valid.Def[1:]},
		"inputs later":   {Def: [][]byte{valid.Def[1], valid.Def[0], valid.Def[2]}},
		"not protobuf":   {Def: [][]byte{{0xff}, valid.Def[2]}},
		"empty result":   {Def: [][]byte{valid.Def[0], {}}},
		"no such output": definition(t, localOp(), &pb.Op{Inputs: []*pb.Input{{Digest: digest.FromBytes(valid.Def[0]).String(), Index: 1}}, Op: copyOp(nothing).Op}),
		"source file": {Def: valid.Def, Source: &pb.Source{Locations: map[string]*pb.Locations{
			"x": {Locations: []*pb.Location{{SourceIndex: 1}}},
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			if edge, err := newGraph().decode(t.Context(), def); err == nil {
				t.Errorf("decoded to %s", dump(edge))
			}
		})
	}
}
