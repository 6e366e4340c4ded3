package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"

	"github.com/slipway-build/slipway/test/conformance/shim/integration"
)

// Build calls a function that solves Dockerfiles, and exports the one whose result it returns.
func (c *Client) Build(ctx context.Context, opt SolveOpt, _ string, build gateway.BuildFunc, status chan *SolveStatus) (*SolveResponse, error) {
	if status != nil {
		defer close(status)
	}
	g := &bridge{client: c, opt: opt}
	defer g.close()
	result, err := build(ctx, g)
	if err != nil {
		return nil, err
	}
	if result == nil || result.Ref == nil {
		if len(opt.Exports) > 0 {
			return nil, unsupported("exporting a result that a client put together")
		}
		return &SolveResponse{}, nil
	}
	ref, ok := result.Ref.(*reference)
	if !ok {
		return nil, fmt.Errorf("result of an unknown kind: %T", result.Ref)
	}
	final := ref.opt
	final.Exports = opt.Exports
	return c.build(ctx, ref.graphs, final, status)
}

// bridge is the gateway of a client-side frontend: it solves Dockerfiles, each by a call of slipway.
type bridge struct {
	client *Client
	opt    SolveOpt

	mu      sync.Mutex
	dirs    []string
	results map[string]fsutil.FS // as directories, by names that graphs have for them
}

// mounts are the client's directories and those of results.
func (g *bridge) mounts() map[string]fsutil.FS {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := maps.Clone(g.results)
	if all == nil {
		all = map[string]fsutil.FS{}
	}
	maps.Copy(all, g.opt.LocalMounts)
	return all
}

func (g *bridge) close() {
	for _, dir := range g.dirs {
		os.RemoveAll(dir)
	}
}

// subrequests are the frontend's requests that slipway has commands for.
func subrequests() map[string][]string {
	return map[string][]string{
		"frontend.lint":    {"lint", "--format=json"},
		"frontend.outline": {"plan", "--outline", "--format=json"},
		"frontend.targets": {"plan", "--targets", "--format=json"},

		"frontend.subrequests.describe": {"plan", "--requests", "--format=json"},
	}
}

func (g *bridge) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	switch {
	case req.Definition == nil && req.Frontend != "dockerfile.v0":
		return nil, unsupported("the frontend " + req.Frontend)
	}
	opt := g.opt
	opt.Exports = nil
	opt.FrontendAttrs = maps.Clone(req.FrontendOpt)
	if id := opt.FrontendAttrs["requestid"]; id != "" {
		delete(opt.FrontendAttrs, "requestid")
		return g.request(ctx, opt, id)
	}
	opt.LocalMounts = g.mounts()
	ref := &reference{bridge: g, opt: opt, graphs: graphs{definition: req.Definition, inputs: req.FrontendInputs}}
	if req.Evaluate {
		if err := ref.Evaluate(ctx); err != nil {
			return nil, err
		}
	}
	result := gateway.NewResult()
	result.SetRef(ref)
	return result, nil
}

// request answers a subrequest.
func (g *bridge) request(ctx context.Context, opt SolveOpt, id string) (*gateway.Result, error) {
	command, ok := subrequests()[id]
	if !ok {
		return nil, errdefs.NewUnsupportedSubrequestError(id)
	}
	dir, err := g.tempDir()
	if err != nil {
		return nil, err
	}
	i := &invocation{dir: dir, opt: opt}
	if err := i.translateContext(ctx); err != nil {
		return nil, err
	}
	if err := i.translateAttributes(ctx); err != nil {
		return nil, err
	}
	// A Dockerfile that does not pass is the answer too, and makes the exit code another.
	out, err := g.client.run(ctx, os.Getenv(BinaryEnv), command[0], append(command[1:], i.flags...), i.args, i.stdin, nil, i.failed)
	if err != nil && !strings.HasPrefix(string(out), "{") {
		return nil, err
	}
	result := gateway.NewResult()
	result.AddMeta("result.json", out)
	return result, nil
}

func (g *bridge) tempDir() (string, error) {
	dir, err := os.MkdirTemp(g.client.dir, "bridge-")
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dirs = append(g.dirs, dir)
	return dir, err
}

func (g *bridge) ResolveSourceMetadata(context.Context, *pb.SourceOp, sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	return nil, unsupported("resolving sources for a client")
}

func (g *bridge) ResolveImageConfig(context.Context, string, sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return "", "", nil, unsupported("resolving images for a client")
}

func (g *bridge) BuildOpts() gateway.BuildOpts {
	return gateway.BuildOpts{
		Opts: maps.Clone(g.opt.FrontendAttrs), Product: "slipway",
		LLBCaps: pb.Caps.CapSet(pb.Caps.All()), Caps: gwpb.Caps.CapSet(gwpb.Caps.All()),
	}
}

func (g *bridge) Inputs(context.Context) (map[string]llb.State, error) {
	return nil, unsupported("a client's LLB as input")
}

func (g *bridge) NewContainer(context.Context, gateway.NewContainerRequest) (gateway.Container, error) {
	return nil, unsupported("containers for a client")
}

func (g *bridge) Warn(context.Context, digest.Digest, string, gateway.WarnOpts) error {
	return unsupported("warnings of a client")
}

// reference is a Dockerfile that is built when somebody asks what came out.
type reference struct {
	bridge *bridge
	opt    SolveOpt
	graphs graphs

	once sync.Once
	dir  string
	err  error
}

// ToState gives what was built as a directory of the client.
func (r *reference) ToState() (llb.State, error) {
	if err := r.Evaluate(context.Background()); err != nil { // BuildKit's interface has no context here
		return llb.State{}, err
	}
	mount, err := fsutil.NewFS(r.dir)
	if err != nil {
		return llb.State{}, err
	}
	name := filepath.Base(r.dir)
	r.bridge.mu.Lock()
	defer r.bridge.mu.Unlock()
	if r.bridge.results == nil {
		r.bridge.results = map[string]fsutil.FS{}
	}
	r.bridge.results[name] = &integration.TmpDirWithName{FS: mount, Name: r.dir}
	return llb.Local(name), nil
}

func (r *reference) Evaluate(ctx context.Context) error {
	r.once.Do(func() {
		if r.dir, r.err = r.bridge.tempDir(); r.err != nil {
			return
		}
		opt := r.opt
		opt.Exports = []ExportEntry{{Type: ExporterLocal, OutputDir: r.dir}}
		_, r.err = r.bridge.client.build(ctx, r.graphs, opt, nil)
	})
	return r.err
}

func (r *reference) ReadFile(ctx context.Context, req gateway.ReadRequest) ([]byte, error) {
	if err := r.Evaluate(ctx); err != nil {
		return nil, err
	}
	f, err := os.OpenInRoot(r.dir, filepath.Clean(strings.TrimLeft(req.Filename, "/")))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if req.Range == nil {
		return io.ReadAll(f)
	}
	data := make([]byte, req.Range.Length)
	n, err := f.ReadAt(data, int64(req.Range.Offset))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return data[:n], err
}

func (r *reference) StatFile(ctx context.Context, req gateway.StatRequest) (*types.Stat, error) {
	if err := r.Evaluate(ctx); err != nil {
		return nil, err
	}
	return fsutil.Stat(filepath.Join(r.dir, filepath.Clean("/"+req.Path)))
}

func (r *reference) ReadDir(ctx context.Context, req gateway.ReadDirRequest) ([]*types.Stat, error) {
	if err := r.Evaluate(ctx); err != nil {
		return nil, err
	}
	dir := filepath.Join(r.dir, filepath.Clean("/"+req.Path))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var stats []*types.Stat
	for _, e := range entries {
		if match, err := filepath.Match(req.IncludePattern, e.Name()); req.IncludePattern != "" && (err != nil || !match) {
			continue
		}
		s, err := fsutil.Stat(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		stats = append(stats, s)
	}
	return stats, nil
}
