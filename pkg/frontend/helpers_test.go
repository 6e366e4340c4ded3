package frontend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

var amd64 = op.Platform{OS: "linux", Architecture: "amd64"}

// files is a local directory: content by path.
type files map[string]string

// localSolver serves local sources from memory, and nothing else.
type localSolver struct {
	locals map[string]files
	err    error // given instead of any tree

	mu     sync.Mutex
	solved []string // "local://context followpaths=[.dockerignore]"
}

func (s *localSolver) Solve(_ context.Context, e op.Edge) (*tree.Tree, error) {
	l, ok := e.Vertex.Op.(*op.Local)
	if !ok {
		return nil, fmt.Errorf("the test does not run %T", e.Vertex.Op)
	}
	s.mu.Lock()
	s.solved = append(s.solved, fmt.Sprintf("local://%s followpaths=%v", l.Name, l.FollowPaths))
	s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	dir, ok := s.locals[l.Name]
	if !ok {
		return nil, fmt.Errorf("local source %q: %w", l.Name, fs.ErrNotExist)
	}
	var list []layer.File
	for _, name := range slices.Sorted(maps.Keys(dir)) {
		top, _, _ := strings.Cut(name, "/")
		if len(l.FollowPaths) > 0 && !slices.Contains(l.FollowPaths, name) && !slices.Contains(l.FollowPaths, top) {
			continue
		}
		list = append(list, file(name, dir[name]))
	}
	ly, err := layer.New(list)
	if err != nil {
		return nil, err
	}
	return tree.New(ly), nil
}

func file(name, content string) layer.File {
	return layer.File{
		Entry:   layer.Entry{Path: name, Type: layer.Regular, Mode: 0o644, Size: int64(len(content))},
		Content: layer.Bytes([]byte(content)),
	}
}

// imageTable resolves every reference, except those in errs, to an image of its own.
type imageTable struct {
	configs map[string]ocispecs.Image // by reference; others get one with a single layer
	errs    map[string]error

	mu    sync.Mutex
	asked []string
}

func (t *imageTable) ResolveImage(_ context.Context, ref string, p op.Platform, mode, layout string) (string, digest.Digest, []byte, error) {
	t.mu.Lock()
	t.asked = append(t.asked, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", ref, p, mode, layout)))
	t.mu.Unlock()
	if err := t.errs[ref]; err != nil {
		return "", "", nil, err
	}
	img, ok := t.configs[ref]
	if !ok {
		img.Config.Env = []string{"PATH=/bin"}
		img.RootFS = ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromString(ref)}}
	}
	img.OS, img.Architecture, img.Variant = p.OS, p.Architecture, p.Variant
	config, err := json.Marshal(img)
	return ref, digest.FromString(ref + p.String()), config, err
}

// project is one build in a test.
type project struct {
	opts     Options
	solver   localSolver
	images   imageTable
	warnings []Warning
}

// newProject has one Dockerfile and a few named options over it.
func newProject(dockerfile string) *project {
	return &project{
		opts: Options{BuildPlatform: amd64},
		solver: localSolver{locals: map[string]files{
			"dockerfile": {"Dockerfile": dockerfile},
			"context":    {},
		}},
	}
}

func (p *project) build(ctx context.Context) (*Result, error) {
	return Build(ctx, p.opts, &p.solver, &p.images, func(w Warning) { p.warnings = append(p.warnings, w) })
}

func (p *project) mustBuild(t *testing.T) *Result {
	t.Helper()
	res, err := p.build(t.Context())
	if err != nil {
		t.Fatalf("Build: %v", err)
	}
	return res
}

// looksUpImagesAtOnce marks tests in which the frontend looks up several base images at the same
// time.
func looksUpImagesAtOnce(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("BuildKit v0.34.2 sets the same field to the same value on each lookup of an image " +
			"(frontend/dockerfile/builder/resolvecache.go), which the race detector reports")
	}
}

// root builds the Dockerfile and returns the vertex that the result is.
func root(t *testing.T, p *project) *op.Vertex {
	t.Helper()
	res := p.mustBuild(t)
	if len(res.Platforms) != 1 || res.Platforms[0].Root == nil {
		t.Fatalf("result has no single root: %+v", res.Platforms)
	}
	return res.Platforms[0].Root.Vertex
}

// rootExec builds the Dockerfile, whose last step is a RUN.
func rootExec(t *testing.T, p *project) *op.Exec {
	t.Helper()
	e, ok := root(t, p).Op.(*op.Exec)
	if !ok {
		t.Fatalf("the last step is %T, not RUN", root(t, p).Op)
	}
	return e
}

// wantRefused builds the Dockerfile, which must fail at a line with a message.
func wantRefused(t *testing.T, p *project, line int, message string) {
	t.Helper()
	_, err := p.build(t.Context())
	wantLocated(t, err, line, message)
	var unsupported *UnsupportedError
	if !errors.As(err, &unsupported) {
		t.Errorf("error %v is no UnsupportedError", err)
	}
}

func wantLocated(t *testing.T, err error, line int, message string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	var located *op.LocatedError
	if !errors.As(err, &located) {
		t.Fatalf("error without a place: %v", err)
	}
	if located.Location.Start != line {
		t.Errorf("error is at line %d, want %d: %v", located.Location.Start, line, err)
	}
	if got := located.Err.Error(); !strings.Contains(got, message) {
		t.Errorf("message %q, want %q in it", got, message)
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("message has several lines: %q", err)
	}
	if snippet := located.Location.Snippet(1); !strings.Contains(snippet, ">>>") {
		t.Errorf("no lines to show for %v:\n%s", err, snippet)
	}
}

// dump renders the graph below edge, one vertex in a line, inputs before those who use them.
func dump(edge *op.Edge) string {
	var b strings.Builder
	numbers := map[*op.Vertex]int{}
	var visit func(v *op.Vertex)
	visit = func(v *op.Vertex) {
		if _, ok := numbers[v]; ok {
			return
		}
		for _, in := range v.Inputs {
			visit(in.Vertex)
		}
		n := len(numbers)
		numbers[v] = n
		fmt.Fprintf(&b, "%d ", n)
		dumpVertex(&b, v, numbers)
	}
	if edge == nil {
		return "scratch\n"
	}
	visit(edge.Vertex)
	fmt.Fprintf(&b, "result %d.%d\n", numbers[edge.Vertex], edge.Output)
	return b.String()
}

func dumpVertex(b *strings.Builder, v *op.Vertex, numbers map[*op.Vertex]int) {
	kind := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", v.Op), "*op."))
	fmt.Fprintf(b, "%s %q", kind, v.Name)
	for _, in := range v.Inputs {
		fmt.Fprintf(b, " <%d.%d", numbers[in.Vertex], in.Output)
	}
	for _, l := range v.Locations {
		fmt.Fprintf(b, " @%d-%d", l.Start, l.End)
	}
	if v.Internal {
		b.WriteString(" internal")
	}
	if v.NoCache {
		b.WriteString(" nocache")
	}
	if g := v.ProgressGroup; g != nil {
		fmt.Fprintf(b, " group(%s weak=%v)", g.Name, g.Weak)
	}
	b.WriteString("\n")
	switch o := v.Op.(type) {
	case *op.File:
		for _, a := range o.Actions {
			fmt.Fprintf(b, "    in=%d from=%d out=%d %s\n", a.Input, a.Secondary, a.Output, dumpAction(a))
		}
	case *op.Exec:
		e := *o
		e.Mounts = nil
		fmt.Fprintf(b, "    %s\n", fields(e))
		for _, m := range o.Mounts {
			fmt.Fprintf(b, "    mount %s\n", fields(m))
		}
	default:
		if s := fields(v.Op); s != "{}" {
			fmt.Fprintf(b, "    %s\n", s)
		}
	}
}

func dumpAction(a op.FileAction) string {
	switch {
	case a.Copy != nil:
		return "copy " + fields(a.Copy)
	case a.Mkdir != nil:
		return "mkdir " + fields(a.Mkdir)
	default:
		// The data of a file is easier to read as text than as JSON makes it.
		m := *a.Mkfile
		m.Data = nil
		return fmt.Sprintf("mkfile %s %q", fields(m), a.Mkfile.Data)
	}
}

// fields renders a struct as JSON without its zero values.
func fields(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		return err.Error()
	}
	prune(m)
	out, err := json.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

func prune(m map[string]any) {
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case bool:
			if !v {
				delete(m, k)
			}
		case string:
			if v == "" {
				delete(m, k)
			}
		case []any:
			if len(v) == 0 {
				delete(m, k)
			}
			for _, e := range v {
				if e, ok := e.(map[string]any); ok {
					prune(e)
				}
			}
		case map[string]any:
			prune(v)
		case float64:
			// Indexes and the like mean something when they are 0.
			if v == 0 && !slices.Contains([]string{"Input", "Output", "Mode", "Type", "ID"}, path.Base(k)) {
				delete(m, k)
			}
		}
	}
}
