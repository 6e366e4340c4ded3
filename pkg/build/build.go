package build

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/mounts"
	"github.com/slipway-build/slipway/pkg/download"
	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/git"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/progress"
	"github.com/slipway-build/slipway/pkg/provenance"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/secret"
	"github.com/slipway-build/slipway/pkg/sign"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/telemetry"
)

// Result is what a build made.
type Result struct {
	// Digest is that of the manifest, or of the index for several platforms; "" if
	// nothing was built (--check).
	Digest string
	Image  *image.Built
	// Pushed are the references that name the image in their registries now, as the
	// user wrote them.
	Pushed []string

	base  *op.Image // that the image is built upon, nil for none
	bases []string  // all images that were used
}

// UsageError is an error in the options, found before anything was done.
type UsageError struct{ Err error }

// Error implements error.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UsageError) Unwrap() error { return e.Err }

// Run builds. It returns when everything is written; results come last. On an error no results are
// written but those that tell of it, and no output is left half-written.
func Run(ctx context.Context, o Options) (_ *Result, err error) {
	s := &session{Options: o, now: time.Now().UTC()}
	defer func() {
		if err != nil {
			err = WriteFailure(ctx, o.ResultsDir, o.Results, s.secrets.Values(), err)
		}
	}()
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	end := s.trace.Start("build", map[string]string{"slipway.tags": strings.Join(o.Tags, ","), "slipway.target": o.Target})
	res, err := s.run(ctx)
	if err != nil {
		end(err, map[string]string{"slipway.reason": Reason(ctx, err)})
		return nil, err
	}
	end(nil, map[string]string{"slipway.digest": res.Digest})
	return res, nil
}

// session is one build.
type session struct {
	Options
	now     time.Time
	plan    *plan
	git     *gitContext     // the context, if it is one in Kaniko's form
	sources *policy.Sources // nil allows everything
	// contextFiles are archives from elsewhere that the context is.
	contextFiles []provenance.File
	outputs      []target
	names        []string // references that the image gets
	state        *state.Dir
	writer       *layer.Writer
	display      *progress.Display
	client       *registry.Client
	images       imageSource
	backend      *lazyBackend
	env          *op.Env
	secrets      *secret.Store
	agents       *secret.Agents
	solver       *solve.Solver // the frontend's own
	signer       *sign.Signer  // nil if nothing is signed
	meter        *progress.Meter
	trace        *telemetry.Trace // nil if nobody wants it

	cacheFrom, cacheTo []cache.Store
	cache              *cache.Cache // nil without stores
	mounts             *mounts.Mounts
	closers            []func() error
}

// open checks the options, as far as possible before anything is touched, and opens what the
// build needs.
func (s *session) open(ctx context.Context) error {
	if err := s.check(); err != nil {
		return &UsageError{err}
	}
	configs, err := s.configs()
	if err != nil {
		return &UsageError{err}
	}
	if err := s.openInputs(ctx); err != nil {
		return err
	}
	for _, n := range append(slices.Clip(s.Notices), s.plan.notices...) {
		s.note(n)
	}
	if s.outputs, err = s.targets(configs); err != nil {
		return &UsageError{err}
	}
	if err := s.openSigner(ctx); err != nil {
		return err
	}
	if err := s.probeResults(); err != nil {
		return err
	}
	if err := s.openCache(ctx); err != nil {
		return &UsageError{err}
	}
	if s.backend, err = s.isolation(); err != nil {
		return err
	}
	s.closers = append(s.closers, s.backend.Close)
	s.startSolver(ctx)
	return nil
}

// check checks what can be checked without touching anything.
func (s *session) check() error {
	var err error
	s.Context = strings.TrimPrefix(s.Context, dirScheme)
	switch s.contextKind() {
	case contextDirectory:
		err = s.checkContext()
	case contextGit:
		s.git, err = parseGit(s.Context, &s.Git)
	}
	if err != nil {
		return err
	}
	s.plan, err = newPlan(&s.Options)
	return err
}

// openInputs opens what the frontend needs to read the Dockerfile and to look up images.
func (s *session) openInputs(ctx context.Context) error {
	var err error
	if s.secrets, err = secret.Load(s.Secrets); err != nil {
		return &UsageError{err}
	}
	if s.git != nil {
		s.secrets.Hide(s.git.secrets...)
	}
	if s.state, err = state.Open(s.StateDir); err != nil {
		return err
	}
	s.closers = append(s.closers, s.state.Close)
	s.writer = layer.NewWriter(ctx, s.state)
	s.closers = append(s.closers, s.writer.Close)
	if s.agents, err = secret.StartAgents(s.Agents, func() (string, error) { return s.state.TempDir("ssh-") }); err != nil {
		return &UsageError{err}
	}
	s.closers = append(s.closers, s.agents.Close)
	if err := s.show(); err != nil {
		return err
	}
	if err := s.startTrace(ctx); err != nil {
		return err
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	if s.sources, err = s.sourcePolicy(); err != nil {
		return &UsageError{err}
	}
	if err := s.fetchDockerfile(ctx); err != nil {
		return err
	}
	from, err := s.openSources()
	if err != nil {
		return &UsageError{err}
	}
	if err := s.loadArchive(ctx, from); err != nil {
		return err
	}
	maps.Copy(s.plan.locals, from.locals)
	s.plan.frontend.Filename, s.plan.frontend.Extra = from.dockerfile, from.extra
	return s.pinLayouts(ctx)
}

// sourcePolicy is what says which sources may be used.
func (s *session) sourcePolicy() (sources *policy.Sources, err error) {
	if s.SourcePolicyFile != "" {
		if sources, err = policy.LoadSources(s.SourcePolicyFile); err != nil {
			return nil, err
		}
	}
	if s.Hermetic {
		sources = sources.Hermetic()
	}
	return sources, nil
}

// openSources finds context and Dockerfile, and what the frontend has to know of them.
func (s *session) openSources() (*source, error) {
	from, err := s.source(s.contextKind(), func() (string, error) { return s.state.TempDir("context-") })
	if err != nil {
		return nil, err
	}
	if s.plan.frontend, err = s.frontendOptions(); err != nil {
		return nil, err
	}
	s.plan.frontend.Contexts = s.plan.contexts
	if bom := s.plan.attest.SBOM; bom != nil && !s.Check {
		s.plan.frontend.SBOM = &frontend.SBOM{Generator: bom.Generator, Parameters: bom.Parameters}
	}
	s.plan.frontend.Sources = s.sources
	if s.git != nil {
		from.extra["context"] = s.git.address
	}
	if web, ok := frontend.WebContext(from.extra["context"]); ok {
		from.archive = webArchive(web, s.downloads())
		from.archive.sub = from.extra[contextSubdir]
	}
	return from, nil
}

// startSolver starts what executes the graph.
func (s *session) startSolver(ctx context.Context) {
	s.env = &op.Env{
		Images: s.images, Downloads: s.downloads(), Repositories: s.repositories(), Locals: s.plan.locals,
		Secrets: s.secrets, Agents: s.agents.Sockets, State: s.state, Fresh: &op.FreshCaches{}, Now: s.now,
		Hermetic:      s.Hermetic,
		AllowInsecure: slices.Contains(s.Allow, allowInsecure),
		// Who asks for it on the command line allows it, as with docker buildx.
		AllowHostNetwork: slices.Contains(s.Allow, hostNetwork) || s.Network == "host",
	}
	if s.backend != nil { // nil where nothing is going to be executed
		s.env.Isolation = s.backend
	}
	if s.mounts != nil {
		s.env.CacheMounts = s.mounts
		s.closers = append(s.closers, func() error { return s.saveMounts(ctx) })
	}
	s.solver = solve.New(ctx, s.executor())
	s.closers = append(s.closers, func() error { s.solver.Close(); return nil })
}

// executor is what a solver executes vertices with.
func (s *session) executor() solve.Executor {
	bottom := solve.Locating(solve.Ops{Env: s.env})
	if s.cache != nil {
		bottom = s.cache.Caching(bottom)
	}
	return s.meter.Observe(s.display.Observe(s.trace.Observe(solve.Memoizing(bottom))))
}

// downloads prepares the client for files from web servers.
func (s *session) downloads() *download.Client {
	return download.New(download.Options{Registry: s.client, UserAgent: s.Registry.UserAgent, Secrets: s.secrets, State: s.state})
}

// repositories prepares the client for git repositories.
func (s *session) repositories() *git.Client {
	o := git.Options{Registry: s.client, Secrets: s.secrets, Agents: s.agents.Sockets, State: s.state}
	if s.git != nil {
		o.Special = map[string]git.Special{s.git.remote: s.git.special}
	}
	return git.New(o)
}

// close releases everything, last opened first.
func (s *session) close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c())
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (s *session) run(ctx context.Context) (_ *Result, err error) {
	whole := ctx // of what outlasts this function
	ctx, checked := s.checkOutputs(ctx)
	defer func() { err = checked(err) }()
	graph, err := frontend.Build(ctx, s.plan.frontend, s.solver, s.images, s.warn)
	if err != nil {
		return nil, err
	}
	if s.Check {
		return &Result{}, PrintLint(s.stdout(), graph, false)
	}
	further, err := s.furtherTargets(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.preflight(ctx, s.env, append(vertices(graph, further...), op.Vertices(scanners(graph)...)...)); err != nil {
		return nil, err
	}
	s.meter.Expect(len(vertices(graph, further...)) + 1) // and the export
	s.startCache(whole, graph)
	res, err := s.make(ctx, graph, further...)
	for s.cache != nil && s.cache.Distrust(err) {
		res, err = s.make(ctx, graph, further...)
	}
	if err != nil {
		return nil, err
	}
	res.Digest = res.Image.Digest().String()
	res.base, res.bases = usedImages(graph, further...)
	if err := s.writeResults(ctx, res); err != nil {
		return nil, err
	}
	if err := s.meter.Finish(); err != nil {
		s.note(err.Error())
	}
	return res, nil
}

// make executes the graphs and writes the outputs of the first.
func (s *session) make(ctx context.Context, graph *frontend.Result, further ...*frontend.Result) (*Result, error) {
	solver := solve.New(ctx, s.serializing(s.executor(), graph))
	defer solver.Close()
	if s.cache != nil {
		warmed := make(chan struct{})
		warming, stop := context.WithCancel(ctx)
		go func() { defer close(warmed); s.cache.Warm(warming, s.env, solver, roots(graph, further...)) }()
		defer func() { stop(); <-warmed }()
	}
	trees, err := solveAll(ctx, solver, graph, further...)
	if err != nil {
		return nil, err
	}
	products, err := s.shape(ctx, trees)
	if err != nil {
		return nil, err
	}
	return s.export(ctx, func(ctx context.Context, o image.Options) (*image.Built, error) {
		b, err := s.assemble(ctx, o, graph, products)
		if err != nil {
			return nil, err
		}
		return s.attest(ctx, solver, b, graph)
	})
}

// absDir makes sure that the named context is a directory and gives its real path.
func absDir(name, dir string) (string, error) {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", fmt.Errorf("build context %s: %w", name, err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return "", fmt.Errorf("build context %s: %w", name, err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("build context %s: %s is not a directory", name, dir)
	}
	return filepath.Abs(real)
}
