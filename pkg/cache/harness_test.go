package cache_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

func try[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// memory is a store in memory that counts, and fails when it is told to.
type memory struct {
	mu         sync.Mutex
	manifests  map[string][]byte
	blobs      map[string][]byte
	distrusted map[string]bool
	opened     int
	readErr    error
	writeErr   error
	slow       chan struct{} // writing waits for it, if it is set
}

func newMemory() *memory {
	return &memory{manifests: map[string][]byte{}, blobs: map[string][]byte{}, distrusted: map[string]bool{}}
}

func (m *memory) Manifest(_ context.Context, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.readErr != nil {
		return nil, m.readErr
	}
	if raw, ok := m.manifests[name]; ok {
		return raw, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) PutManifest(ctx context.Context, name string, raw []byte) error {
	if err := m.writing(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.manifests[name] = raw
	return nil
}

func (m *memory) writing(ctx context.Context) error {
	if m.slow != nil {
		select {
		case <-m.slow:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writeErr
}

func (m *memory) Has(_ context.Context, d v1.Descriptor) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.blobs[d.Digest.Hex]
	return ok, nil
}

func (m *memory) Open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opened++
	data, ok := m.blobs[d.Digest.Hex]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (m *memory) Put(ctx context.Context, d v1.Descriptor, open func() (io.ReadCloser, error)) error {
	if err := m.writing(ctx); err != nil {
		return err
	}
	if m.keeps(d) {
		return nil
	}
	r, err := open()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[d.Digest.Hex] = data
	delete(m.distrusted, d.Digest.Hex)
	return err
}

// keeps reports whether a blob is there and not to be replaced.
func (m *memory) keeps(d v1.Descriptor) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, has := m.blobs[d.Digest.Hex]
	return has && !m.distrusted[d.Digest.Hex]
}

func (m *memory) Distrust(d v1.Descriptor) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.distrusted[d.Digest.Hex] = true
}

func (m *memory) Layer(d v1.Descriptor, diffID v1.Hash) (v1.Layer, error) {
	return partial.CompressedToLayer(&memoryLayer{m, d, diffID})
}

func (m *memory) String() string { return "memory" }

type memoryLayer struct {
	m      *memory
	desc   v1.Descriptor
	diffID v1.Hash
}

func (l *memoryLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *memoryLayer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *memoryLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *memoryLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *memoryLayer) Compressed() (io.ReadCloser, error) {
	return l.m.Open(context.Background(), l.desc)
}

// world is what a build works with that lasts longer than it: a base image, and a context.
type world struct {
	base    *untouchable
	context string
	// run says what a RUN writes: the content of files by their paths.
	run func(args []string, root *tree.View) map[string]string
	now time.Time
	// modified is the time of what a RUN writes; zero for when it does.
	modified time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	files := []layer.File{{Entry: layer.Entry{Path: "etc", Type: layer.Directory, Mode: 0o755}}, file("etc/base", "base")}
	st := openState(t)
	w := &world{context: t.TempDir(), now: time.Unix(1_700_000_000, 0).UTC()}
	w.base = &untouchable{blob: try(layer.Write(t.Context(), try(layer.New(files))(t), st, image.Options{}.Compression))(t)}
	w.run = func(args []string, _ *tree.View) map[string]string {
		return map[string]string{"run-" + args[0]: strings.Join(args, " ")}
	}
	w.write(t, "a", "content of a")
	return w
}

type blob = layer.Blob

// untouchable is a base image's layer that is not fetched for a build that finds everything.
type untouchable struct {
	blob
	mu    sync.Mutex
	asked int
}

func (u *untouchable) Index(ctx context.Context) (*layer.Index, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked++
	return u.blob.Index(ctx)
}

func file(p, content string) layer.File {
	return layer.File{
		Entry:   layer.Entry{Path: p, Type: layer.Regular, Mode: 0o644, Size: int64(len(content)), ModTime: time.Now().UTC()},
		Content: layer.Bytes([]byte(content)),
	}
}

func openState(t *testing.T) *state.Dir {
	t.Helper()
	st := try(state.Open(t.TempDir()))(t)
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

func (w *world) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.context, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Layers implements op.Images.
func (w *world) Layers(context.Context, *op.Image) ([]layer.Layer, error) {
	return []layer.Layer{w.base}, nil
}

// backend implements isolation.Backend: it writes what the world says.
type backend struct{ w *world }

func (b backend) Name() string { return "fake" }
func (b backend) Close() error { return nil }

func (b backend) Run(ctx context.Context, p *isolation.Process) (*isolation.Changes, error) {
	view, err := p.Root.View(ctx)
	if err != nil {
		return nil, err
	}
	var files []layer.File
	for path, content := range b.w.run(p.Args, view) {
		f := file(path, content)
		if !b.w.modified.IsZero() {
			f.Entry.ModTime = b.w.modified
		}
		files = append(files, f)
	}
	l, err := layer.New(files)
	return &isolation.Changes{Root: l}, err
}

// from, run and copyOf make the steps of a Dockerfile.
func from() *op.Vertex {
	return &op.Vertex{ID: "base", Name: "base", Op: &op.Image{Ref: "base@sha256:" + strings.Repeat("0", 64)}}
}

func on(v *op.Vertex) []op.Edge { return []op.Edge{{Vertex: v}} }

func run(base *op.Vertex, args ...string) *op.Vertex {
	name := "RUN " + strings.Join(args, " ")
	return &op.Vertex{ID: base.ID + "/" + name, Name: name, Inputs: on(base), Op: &op.Exec{
		Args: args, Cwd: "/", Mounts: []op.ExecMount{{Type: isolation.MountBind, Dest: "/"}},
	}}
}

func copyFrom(source, base *op.Vertex, src, dest string) *op.Vertex {
	name := "COPY " + src + " " + dest
	return &op.Vertex{
		ID: base.ID + "/" + name + " from " + source.ID, Name: name,
		Inputs: []op.Edge{{Vertex: base}, {Vertex: source}},
		Op: &op.File{Actions: []op.FileAction{{
			Input: 0, Secondary: 1,
			Copy: &op.Copy{Src: src, Dest: dest, Mode: -1, FollowSymlink: true, CreateDestPath: true},
		}}},
	}
}

func local() *op.Vertex {
	return &op.Vertex{ID: "local", Name: "local", Op: &op.Local{Name: "context"}}
}

// built is what a build gave.
type built struct {
	digest   string
	executed []string // names of steps, sorted
	warnings []string
	tree     *tree.Tree
}

// counting notes what gets executed.
type counting struct {
	solve.Executor
	mu       sync.Mutex
	executed []string
}

func (c *counting) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	if _, file := v.Op.(*op.File); file || strings.HasPrefix(v.Name, "RUN") {
		c.mu.Lock()
		c.executed = append(c.executed, v.Name)
		c.mu.Unlock()
	}
	return c.Executor.Execute(ctx, v, in)
}

// build builds target in a new state directory, at another time than all builds before.
func (w *world) build(t *testing.T, target *op.Vertex, o cache.Options) *built {
	t.Helper()
	w.now = w.now.Add(time.Hour)
	b := &built{}
	var mu sync.Mutex
	o.Now, o.State = w.now, openState(t)
	o.Writer = layer.NewWriter(t.Context(), o.State)
	o.Warn = func(m string) { mu.Lock(); defer mu.Unlock(); b.warnings = append(b.warnings, m) }
	env := &op.Env{Images: w, Isolation: backend{w}, Locals: map[string]op.Files{"context": op.Directory(w.context)}, State: o.State, Now: w.now}
	c := cache.New(t.Context(), o)
	ops := &counting{Executor: solve.Ops{Env: env}}
	attempt := func() error {
		s := solve.New(t.Context(), solve.Memoizing(c.Caching(ops)))
		defer s.Close()
		edge := op.Edge{Vertex: target}
		c.Warm(t.Context(), env, s, []op.Edge{edge})
		var err error
		if b.tree, err = s.Solve(t.Context(), edge); err != nil {
			return err
		}
		spec := image.Spec{Platforms: []image.Platform{{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, Base: []byte(`{"created":"2020-01-01T00:00:00Z"}`), Tree: b.tree}}}
		spec.Now = w.now
		img, err := image.Build(t.Context(), spec, o.Writer)
		if err == nil {
			b.digest = img.Digest().String()
		}
		return err
	}
	err := attempt()
	for c.Distrust(err) {
		err = attempt()
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Flush(time.Minute)
	b.executed = ops.executed
	slices.Sort(b.executed)
	return b
}

// read returns the content of a file of the result.
func (b *built) read(t *testing.T, p string) string {
	t.Helper()
	n := try(try(b.tree.View(t.Context()))(t).Lookup(p))(t)
	r := try(n.Open(t.Context()))(t)
	defer r.Close()
	return string(try(io.ReadAll(r))(t))
}

func (b *built) expect(t *testing.T, what string, executed ...string) {
	t.Helper()
	slices.Sort(executed)
	if !slices.Equal(b.executed, executed) {
		t.Errorf("%s: executed %q, expected %q", what, b.executed, executed)
	}
}

func (b *built) warned(t *testing.T, n int, containing string) {
	t.Helper()
	if len(b.warnings) != n || (n > 0 && !strings.Contains(fmt.Sprint(b.warnings), containing)) {
		t.Errorf("warnings are %q, expected %d with %q", b.warnings, n, containing)
	}
}

// flushed builds target and gives the cache no more than limit to be written.
func (w *world) flushed(t *testing.T, target *op.Vertex, o cache.Options, limit time.Duration) {
	t.Helper()
	o.Writer = layer.NewWriter(t.Context(), o.State)
	env := &op.Env{Images: w, Isolation: backend{w}, Locals: map[string]op.Files{"context": op.Directory(w.context)}, State: o.State, Now: o.Now}
	c := cache.New(t.Context(), o)
	s := solve.New(t.Context(), c.Caching(solve.Ops{Env: env}))
	defer s.Close()
	if _, err := s.Solve(t.Context(), op.Edge{Vertex: target}); err != nil {
		t.Fatal(err)
	}
	c.Flush(limit)
}

// plan tells the status of the three steps that target ends with, the lowest first.
func (w *world) plan(t *testing.T, target *op.Vertex, o cache.Options) []cache.Status {
	t.Helper()
	o.Now, o.State = w.now, openState(t)
	o.Writer = layer.NewWriter(t.Context(), o.State)
	o.Warn = func(m string) { t.Error(m) }
	env := &op.Env{Images: w, Locals: map[string]op.Files{"context": op.Directory(w.context)}, State: o.State, Now: w.now}
	vertices := []*op.Vertex{target.Inputs[0].Vertex.Inputs[0].Vertex, target.Inputs[0].Vertex, target}
	plan := try(cache.New(t.Context(), o).Plan(t.Context(), env, vertices, []op.Edge{{Vertex: target}}))(t)
	var all []cache.Status
	for _, v := range vertices {
		all = append(all, plan[v.ID])
	}
	return all
}
