package provenance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	slsa02 "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v0.2"
	slsa1 "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v1"
	bkprovenance "github.com/moby/buildkit/solver/llbsolver/provenance"
	bktypes "github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/util/urlutil"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/op"
)

// BuilderID names slipway as the builder where nobody says who runs it.
const BuilderID = "https://github.com/slipway-build/slipway"

// frontendName is what BuildKit calls the frontend that is built in.
const frontendName = "dockerfile.v0"

// Facts are what a build knows about the image of one platform.
type Facts struct {
	// Roots are the image's own root filesystem, if it has one, and what was looked at on the way, such as the Dockerfile.
	Roots []op.Edge
	// Definition is the graph of the image as the frontend made it; nil for an image without layers.
	Definition *Definition
	// Images are those that were looked up, also if nothing of their files is used.
	Images []Image
	// Files are sources that are no part of the graph.
	Files []File
	// Args are the frontend's options, by its names. Credentials in URLs are left out of what is told.
	Args map[string]string
	// Platform is that of the image, "linux/arm64".
	Platform string
	// Layers are the blobs of images and of the result, lowest first, by the vertex whose root filesystem they are.
	Layers map[*op.Vertex][]ocispec.Descriptor
	// VCSSource and VCSRevision are the repository and the commit that the context is of, as whoever asks for the build says.
	VCSSource, VCSRevision string

	// Env are further facts about where the build runs, which become internal parameters.
	Env map[string]any
	// Hermetic says that the build had no network, and only pinned sources.
	Hermetic bool
	// Run is who asked for the build: names and values, such as the TaskRun.
	Run map[string]string
	// InvocationID identifies the build.
	InvocationID string
	// DockerfileVersion is that of the frontend.
	DockerfileVersion string
	Started, Finished time.Time
}

// Provenance is a predicate and its type.
type Provenance struct {
	PredicateType string
	Predicate     json.RawMessage
	// Dependencies is everything remote that was brought in.
	Dependencies []Dependency
}

// Dependency is something remote that was brought in.
type Dependency struct {
	URI    string            // a package URL for images, else the URL
	Digest map[string]string // algorithm to hexadecimal digits
}

// New makes the provenance of one image.
func New(ctx context.Context, f *Facts, o *Options, s Sources) (*Provenance, error) {
	c, err := collect(ctx, f, s)
	if err != nil {
		return nil, err
	}
	c.TargetPlatform = f.Platform
	c.Request.Frontend = frontendName
	c.Request.Args = requestArgs(f)
	p, err := bkprovenance.NewPredicate(c)
	if err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	m := p.RunDetails.Metadata
	if o.CompleteMaterials && !m.Completeness.ResolvedDependencies {
		return nil, errors.New("provenance: not everything that the build uses has a digest, and complete-materials asks for it: " +
			"a context that is a directory has none; use a git repository, or an archive at a URL")
	}
	m.InvocationID, m.StartedOn, m.FinishedOn, m.Reproducible = f.InvocationID, &f.Started, &f.Finished, o.Reproducible
	p.RunDetails.Builder.ID = BuilderID
	if o.BuilderID != nil {
		p.RunDetails.Builder.ID = *o.BuilderID
	}
	p.BuildDefinition.InternalParameters.DockerfileVersion = f.DockerfileVersion
	env := bktypes.ProvenanceCustomEnv{}
	maps.Copy(env, f.Env)
	if len(f.Run) > 0 {
		env[runKey] = f.Run
	}
	if f.Hermetic {
		env[hermeticKey] = true
	}
	p.BuildDefinition.InternalParameters.ProvenanceCustomEnv = env
	if o.Max {
		err = addGraph(ctx, p, c, f)
	} else {
		scrub(p)
	}
	if err != nil {
		return nil, err
	}
	return encode(p, o)
}

func encode(p *bktypes.ProvenancePredicateSLSA1, o *Options) (*Provenance, error) {
	out := &Provenance{PredicateType: slsa1.PredicateSLSAProvenance}
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		out.Dependencies = append(out.Dependencies, Dependency{URI: d.URI, Digest: d.Digest})
	}
	var predicate any = p
	if o.Version == versionSLSA02 {
		out.PredicateType, predicate = slsa02.PredicateSLSAProvenance, p.ConvertToSLSA02()
	}
	var err error
	if out.Predicate, err = json.Marshal(predicate); err != nil {
		return nil, fmt.Errorf("provenance: %w", err)
	}
	return out, nil
}

// requestArgs are the options that say what is built, without credentials.
func requestArgs(f *Facts) map[string]string {
	args := bkprovenance.FilterArgs(f.Args)
	for k, v := range args {
		if k == "context" || strings.HasPrefix(k, "context:") {
			args[k] = redact(v)
		}
	}
	for k, v := range map[string]string{"vcs:source": f.VCSSource, "vcs:revision": f.VCSRevision} {
		if v != "" {
			args[k] = v
		}
	}
	return args
}

// redact leaves out of a URL its credentials, as BuildKit does, and its query, which can be one.
func redact(address string) string {
	u, err := url.Parse(urlutil.RedactCredentials(address))
	if err != nil || u.Host == "" {
		return address
	}
	if u.RawQuery != "" {
		u.RawQuery = "xxxxx"
	}
	return u.String()
}

// scrub leaves out what mode "min" does not tell, as BuildKit does.
func scrub(p *bktypes.ProvenancePredicateSLSA1) {
	req := &p.BuildDefinition.ExternalParameters.Request
	before := len(req.Args)
	maps.DeleteFunc(req.Args, func(k, _ string) bool {
		return strings.HasPrefix(k, "build-arg:") || strings.HasPrefix(k, "label:")
	})
	if len(req.Args) < before {
		p.RunDetails.Metadata.Completeness.Request = false
	}
	req.Secrets, req.SSH = nil, nil
}

// withoutCredentials takes them out of the URLs of sources. The steps are copies of our own.
func withoutCredentials(steps []bktypes.BuildStep) {
	for _, s := range steps {
		source := s.Op.GetSource()
		if source == nil {
			continue
		}
		source.Identifier = redact(source.GetIdentifier())
		for k, v := range source.GetAttrs() {
			source.Attrs[k] = redact(v)
		}
	}
}

// addGraph adds what only mode "max" tells: the graph, the Dockerfile, and which layers are whose.
func addGraph(ctx context.Context, p *bktypes.ProvenancePredicateSLSA1, c *bkprovenance.Capture, f *Facts) error {
	if f.Definition == nil {
		return nil
	}
	steps, err := bkprovenance.AddBuildConfig(ctx, p, c, f.Definition.result(), false)
	if err != nil {
		return fmt.Errorf("provenance: build graph: %w", err)
	}
	withoutCredentials(p.BuildDefinition.InternalParameters.BuildConfig.Definition)
	if source := p.RunDetails.Metadata.BuildKitMetadata.Source; source != nil {
		for _, info := range source.Infos {
			withoutCredentials(info.Definition)
		}
	}
	layers := map[string][][]ocispec.Descriptor{}
	for v, blobs := range f.Layers {
		if step, ok := steps[digest.Digest(v.ID)]; ok && len(blobs) > 0 {
			layers[fmt.Sprintf("step%d:0", step)] = [][]ocispec.Descriptor{blobs}
		}
	}
	if len(layers) > 0 {
		p.RunDetails.Metadata.BuildKitMetadata.Layers = layers
	}
	return nil
}
