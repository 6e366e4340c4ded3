package build

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/attest"
	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/provenance"
	"github.com/slipway-build/slipway/results"
)

// plan is what the options ask for, checked and in the terms of the packages that do it.
type plan struct {
	frontend frontend.Options
	image    image.Options
	results  results.Files
	attest   *attest.Options
	storage  storage
	env      map[string]any // of where the build runs, for the provenance
	notices  []string       // for the user, of what is done otherwise than asked for

	policy     *policy.Images // nil if all images are allowed
	policyMode policy.Mode

	contexts map[string]string   // named contexts, as the frontend takes them
	locals   map[string]op.Files // local sources by name
	layouts  map[string]string   // stores of oci-layout contexts: name to path
	pending  map[string]layoutContext
}

// allowInsecure is the permission for RUN --security=insecure, by BuildKit's name for it.
const allowInsecure = "security.insecure"

// layoutContext is a named context in a layout whose digest has to be looked up.
type layoutContext struct{ store, id string }

func newPlan(o *Options) (*plan, error) {
	p := &plan{
		contexts: map[string]string{}, locals: map[string]op.Files{},
		layouts: map[string]string{}, pending: map[string]layoutContext{},
		image: image.Options{Epoch: o.Epoch},
	}
	for _, name := range slices.Sorted(maps.Keys(o.BuildContexts)) {
		value := o.BuildContexts[name]
		if input, ok := strings.CutPrefix(value, "input:"); ok && o.Inputs[input] != nil {
			p.contexts[name] = value
			continue
		}
		if err := p.addContext(name, value); err != nil {
			return nil, err
		}
	}
	for _, a := range o.Annotations {
		parsed, err := image.ParseAnnotation(a)
		if err != nil {
			return nil, err
		}
		p.image.Annotations = append(p.image.Annotations, parsed...)
	}
	if err := errors.Join(p.setCompression(o), p.setFormat(o), p.setPolicy(o), p.setAttest(o), o.checkIgnored()); err != nil {
		return nil, err
	}
	for _, a := range o.Allow {
		if a != allowInsecure && a != hostNetwork {
			return nil, fmt.Errorf("--allow %q: only %s and %s can be allowed", a, allowInsecure, hostNetwork)
		}
	}
	p.results = results.Files{
		Dir:               o.ResultsDir,
		DigestFile:        o.DigestFile,
		NameDigestFile:    o.ImageNameWithDigestFile,
		NameTagDigestFile: o.ImageNameTagWithDigestFile,
		BuilderOutput:     o.BuilderOutput,
		Stdout:            o.Stdout,
	}
	for _, r := range o.Results {
		named, err := results.ParseNamed(r)
		if err != nil {
			return nil, err
		}
		p.results.Named = append(p.results.Named, named)
	}
	return p, p.results.Check()
}

func (p *plan) setCompression(o *Options) error {
	if o.Compression != "" {
		algorithm, err := compression.Parse(o.Compression)
		if err != nil {
			return err
		}
		p.image.Compression.Algorithm = algorithm
	}
	if l := o.CompressionLevel; l != nil {
		p.image.Compression.Level = *l
		if *l == 0 && p.image.Compression.Algorithm == compression.Gzip {
			p.image.Compression.Level = compression.Stored
		}
	}
	return p.image.Compression.Validate()
}

func (p *plan) setFormat(o *Options) error {
	switch o.ImageFormat {
	case "", "oci":
	case "docker":
		p.image.Docker = true
		if p.image.Compression.Algorithm == compression.Zstd {
			p.image.Compression = compression.Options{}
			p.notices = append(p.notices, "--compression zstd has no effect with --image-format docker, whose media types many programs know for gzip only")
		}
	default:
		return fmt.Errorf("--image-format %q is not one of oci, docker", o.ImageFormat)
	}
	return nil
}

// setAttest reads what is to be told about the image. The frontend makes no attestations, but for what a scanner finds.
func (p *plan) setAttest(o *Options) (err error) {
	p.attest, err = attest.ParseOptions(o.Attest.Kinds, o.Attest.SBOM, o.Attest.Provenance, o.BuildArgs)
	if err == nil {
		p.storage, err = parseStorage(o)
	}
	if err == nil && !p.attest.None() && p.image.Docker && p.storage.index() {
		err = errors.New("attestations cannot be attached with --image-format docker: they need OCI's media types")
	}
	if err == nil && p.attest.Provenance != nil && o.Attest.EnvDir != "" {
		p.env, err = provenance.ReadEnv(o.Attest.EnvDir)
	}
	return err
}

// addContext takes one --build-context NAME=VALUE.
func (p *plan) addContext(name, value string) error {
	if name == "context" || name == "dockerfile" {
		return fmt.Errorf("build context %q: this name is taken by the build itself", name)
	}
	scheme, rest, hasScheme := strings.Cut(value, "://")
	switch {
	case hasScheme && scheme == "docker-image":
		p.contexts[name] = value
	case hasScheme && scheme == "oci-layout":
		return p.addLayout(name, rest)
	case hasScheme && scheme != "dir":
		// The frontend knows these; what of them can't be built is refused there.
		p.contexts[name] = value
	case !hasScheme && !isDir(value) && frontend.IsRemoteContext(value): // git@host:path
		p.contexts[name] = value
	default:
		if hasScheme {
			value = rest
		}
		dir, err := absDir(name, value)
		if err != nil {
			return err
		}
		p.locals[name] = op.Directory(dir)
		p.contexts[name] = "local:" + name
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// addLayout takes PATH[:TAG][@DIGEST].
func (p *plan) addLayout(name, value string) error {
	path, id, _ := strings.Cut(value, "@")
	if i := strings.LastIndexByte(path, ':'); id == "" && i > strings.LastIndexByte(path, '/') {
		if _, err := os.Stat(path); err != nil {
			path, id = path[:i], path[i+1:]
		}
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("build context %s: %w", name, err)
	}
	store := fmt.Sprintf("layout%d", len(p.layouts))
	p.layouts[store] = path
	p.pending[name] = layoutContext{store, id}
	return nil
}

// pinLayouts looks up the digests of oci-layout contexts, which the frontend wants to know.
func (s *session) pinLayouts(ctx context.Context) error {
	platform := op.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if ps := s.plan.frontend.Platforms; len(ps) > 0 {
		platform = ps[0]
	}
	for name, l := range s.plan.pending {
		img, err := s.images.ResolveLayout(ctx, l.store, l.id, platform)
		if err != nil {
			return fmt.Errorf("build context %s: %w", name, err)
		}
		s.plan.contexts[name] = fmt.Sprintf("oci-layout://%s@%s", l.store, img.Digest)
	}
	return nil
}
