// Package frontend turns a Dockerfile into the build graph of package op.
//
// The Dockerfile language is not implemented here: BuildKit's own frontend is called in
// process, with a gateway that answers what it would ask of a BuildKit daemon. What comes
// back is LLB, BuildKit's graph of low-level operations, which is decoded into our own types.
// This is the only package that imports BuildKit's frontend, and the only one that decodes LLB.
//
// Two rules hold for the decoding. Every capability of LLB is advertised, because the
// frontend silently leaves out what the other side claims not to know; and every field that
// cannot be executed is refused with the line of the Dockerfile, never ignored.
package frontend

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	commonexptypes "github.com/moby/buildkit/exporter/exptypes"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Solver gives the trees that edges of the build graph stand for. It is lazy and solves each
// vertex, identified by its ID, at most once per build. It is safe for concurrent use.
type Solver interface {
	Solve(ctx context.Context, e op.Edge) (*tree.Tree, error)
}

// ImageResolver looks up images. It is safe for concurrent use.
type ImageResolver interface {
	// ResolveImage returns the config of the image that ref names for the platform, the
	// digest of its manifest, or of the index that the manifest was chosen from, and the
	// reference pinned to this digest. Only manifests and the config are fetched.
	//
	// mode is "default", "pull" or "local". layout names the OCI layout to look in, ""
	// for a registry.
	ResolveImage(ctx context.Context, ref string, platform op.Platform, mode, layout string) (pinned string, dgst digest.Digest, config []byte, err error)
}

// Result is what a Dockerfile was turned into.
type Result struct {
	// Platforms has one element for each platform, in the order they were asked
	// for. It is empty for subrequests.
	Platforms []PlatformResult
	// Index says that an index is asked for, even if there is only one platform.
	Index bool
	// Metadata is everything else that the frontend says; a subrequest's answer is in
	// "result.json", "result.txt" and "result.statuscode".
	Metadata map[string][]byte
	// Lint sums up the answer to "frontend.lint"; nil for anything else.
	Lint *Lint
	Used Used
}

// PlatformResult is the image of one platform.
type PlatformResult struct {
	Platform op.Platform
	ID       string // "linux/arm64"
	// Root is the image's root filesystem; nil for an image without any layer.
	Root *op.Edge
	// Definition is the graph that ends with Root, in LLB as the frontend made it; nil without Root.
	Definition *pb.Definition
	// Config is the image config as JSON. As the frontend makes it, it has the base
	// image's rootfs section and no creation time.
	Config []byte
	// BaseConfig is the config of the base image, nil without one.
	BaseConfig []byte
	// Epoch is the value of SOURCE_DATE_EPOCH, nil if it is not set.
	Epoch *time.Time
	// SBOM is what a bill of materials is made of; nil if none is asked for.
	SBOM *Materials
}

// Build evaluates the Dockerfile: it reads what it must through s and images, and returns the
// graph of what is to be built without building it. The Dockerfile comes from the local
// source "dockerfile", the build context is the local source "context".
//
// Lint warnings are given to warn, never two at a time; warn may be nil. Errors that belong
// to a place of the Dockerfile are an [op.LocatedError]; constructs that cannot be built are
// an [UnsupportedError].
func Build(ctx context.Context, opts Options, s Solver, images ImageResolver, warn func(Warning)) (*Result, error) {
	frontendOpts, err := opts.frontendOpts()
	if err != nil {
		return nil, err
	}
	b := &build{
		platform: opts.buildPlatform(),
		solver:   s,
		images:   images,
		sbom:     opts.SBOM,
		sources:  opts.Sources,
		graph:    newGraph(),
		inputs:   opts.Inputs,
		warn:     warn,
	}
	b.graph.decide = b.decideOp
	given := maps.Clone(frontendOpts)
	if opts.SBOM != nil && opts.SBOM.Generator == "" {
		delete(given, optionSBOM) // nobody asked for the placeholder
	}
	res, err := builder.Build(ctx, b.gateway(frontendOpts))
	if err == nil {
		err = b.readFault()
	}
	if err != nil {
		return nil, convertError(err, b.dockerfile())
	}
	out, err := newResult(res, &opts)
	if err == nil {
		out.Used = b.used(given)
	}
	if err == nil && opts.Request == requestLint {
		out.Lint, err = b.lint(res)
	}
	return out, err
}

// requestLint is the subrequest that runs the Dockerfile checks.
const requestLint = "frontend.lint"

// build is the state that all gateways of one call of [Build] share: the frontend re-enters
// itself through a second gateway when a Dockerfile has a syntax line.
type build struct {
	platform op.Platform // of the machine that builds
	solver   Solver
	images   ImageResolver
	sbom     *SBOM
	sources  *policy.Sources
	graph    *graph
	inputs   map[string][]byte
	resolved sync.Map // resolvedKey
	usage

	mu     sync.Mutex
	warn   func(Warning)
	file   *sourceFile
	fault  error
	lookup error // see noteLookup
}

// sourceFile is a file that positions refer to.
type sourceFile struct {
	name string
	data []byte
}

// noteFile remembers the first file that the frontend reads, the Dockerfile: errors that
// precede its conversion have lines, but do not say of what.
func (b *build) noteFile(name string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == nil {
		b.file = &sourceFile{name: name, data: data}
	}
}

func (b *build) dockerfile() *sourceFile {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.file
}

// noteFault remembers the first error of reading a file that exists. The frontend takes any
// error of reading an ignore file for its absence, and would go on without it.
func (b *build) noteFault(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault == nil {
		b.fault = err
	}
}

func (b *build) readFault() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fault
}

// newResult takes BuildKit's result apart.
func newResult(res *gateway.Result, opts *Options) (*Result, error) {
	out := &Result{}
	if res == nil {
		return out, nil
	}
	if len(res.Attestations) > 0 && opts.SBOM == nil {
		return nil, fmt.Errorf("the frontend returned attestations that nobody asked for")
	}
	out.Metadata, out.Index = res.Metadata, res.Refs != nil
	raw, ok := res.Metadata[exptypes.ExporterPlatformsKey]
	if !ok {
		return out, nil
	}
	var list exptypes.Platforms
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("platforms of the frontend's result: %w", err)
	}
	seen := map[string]bool{} // a platform may be asked for twice
	for _, p := range list.Platforms {
		if seen[p.ID] {
			continue
		}
		seen[p.ID] = true
		r, err := platformResult(res, p)
		if err != nil {
			return nil, fmt.Errorf("result for %s: %w", p.ID, err)
		}
		if opts.SBOM != nil {
			if r.SBOM, err = materialsOf(res.Attestations[p.ID]); err != nil {
				return nil, fmt.Errorf("result for %s: %w", p.ID, err)
			}
			opts.limitScanner(r.SBOM)
		}
		out.Platforms = append(out.Platforms, *r)
	}
	return out, nil
}

func platformResult(res *gateway.Result, p exptypes.Platform) (*PlatformResult, error) {
	meta := func(key string) []byte {
		if v, ok := res.Metadata[key+"/"+p.ID]; ok {
			return v
		}
		return res.Metadata[key]
	}
	r := &PlatformResult{
		Platform:   fromOCI(p.Platform),
		ID:         p.ID,
		Config:     meta(exptypes.ExporterImageConfigKey),
		BaseConfig: meta(exptypes.ExporterImageBaseConfigKey),
	}
	if epoch := meta(commonexptypes.ExporterEpochKey); epoch != nil {
		seconds, err := strconv.ParseInt(string(epoch), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("source date epoch: %w", err)
		}
		t := time.Unix(seconds, 0).UTC()
		r.Epoch = &t
	}
	ref := res.Ref
	if res.Refs != nil {
		ref = res.Refs[p.ID]
	}
	switch ref := ref.(type) {
	case nil:
	case *reference:
		r.Root, r.Definition = &ref.edge, ref.definition
	default:
		return nil, fmt.Errorf("unexpected reference %T", ref)
	}
	return r, nil
}
