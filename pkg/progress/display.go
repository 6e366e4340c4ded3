// Package progress shows a running build with BuildKit's own displays: terminal, plain lines, or
// JSON for other programs.
package progress

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/containerd/console"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/pkg/op"
)

// Display shows the steps of one build. All methods are safe for concurrent use. The zero value is
// not usable; see [New].
type Display struct {
	secrets [][]byte

	mu     sync.Mutex // guards closed and sending on ch
	closed bool
	ch     chan *client.SolveStatus
	ended  chan error
	steps  int
}

// Modes are the values of --progress.
var modes = map[string]progressui.DisplayMode{
	"auto": progressui.AutoMode, "tty": progressui.TtyMode, "plain": progressui.PlainMode,
	"quiet": progressui.QuietMode, "rawjson": progressui.RawJSONMode,
}

// New starts a display on w in one of the modes auto, tty, plain, quiet and rawjson. The values in
// secrets are replaced by asterisks in everything that processes print.
func New(w io.Writer, mode string, secrets [][]byte) (*Display, error) {
	m, ok := modes[mode]
	if !ok {
		return nil, fmt.Errorf("progress mode %q is not one of auto, tty, plain, quiet, rawjson", mode)
	}
	if f, isFile := w.(*os.File); m == progressui.AutoMode && (!isFile || !isTerminal(f)) {
		m = progressui.PlainMode
	}
	ui, err := progressui.NewDisplay(w, m)
	if err != nil {
		return nil, fmt.Errorf("progress display: %w", err)
	}
	d := &Display{secrets: maskable(secrets), ch: make(chan *client.SolveStatus, 64), ended: make(chan error, 1)}
	go func() {
		// The display outlives the build's context: the last lines of a build that
		// was cancelled are shown too.
		_, err := ui.UpdateFrom(context.Background(), d.ch)
		d.ended <- err
	}()
	return d, nil
}

func isTerminal(f *os.File) bool {
	_, err := console.ConsoleFromFile(f)
	return err == nil
}

// Close shows what is still to be shown. Later events are dropped.
func (d *Display) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	close(d.ch)
	d.mu.Unlock()
	return <-d.ended
}

func (d *Display) send(s *client.SolveStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.closed {
		d.ch <- s
	}
}

// Warning is shown with the lines it is about.
type Warning struct {
	Vertex   string // id of the vertex, "" for none
	Level    int
	Short    string
	Detail   []string
	URL      string
	Location op.Location
}

// Warn shows a warning. BuildKit's displays drop one that belongs to no vertex, so it gets one.
func (d *Display) Warn(w Warning) {
	out := &client.VertexWarning{Vertex: digest.Digest(w.Vertex), Level: w.Level, Short: mask([]byte(w.Short), d.secrets), URL: w.URL}
	for _, line := range w.Detail {
		out.Detail = append(out.Detail, mask([]byte(line), d.secrets))
	}
	if w.Location.Start > 0 {
		out.SourceInfo = &pb.SourceInfo{Filename: w.Location.Filename, Data: w.Location.Data}
		out.Range = []*pb.Range{{
			Start: &pb.Position{Line: int32(w.Location.Start)},
			End:   &pb.Position{Line: int32(w.Location.End)},
		}}
	}
	if w.Vertex != "" {
		d.send(&client.SolveStatus{Warnings: []*client.VertexWarning{out}})
		return
	}
	v := d.vertex("warning")
	out.Vertex = v.Digest
	d.started(v)
	d.send(&client.SolveStatus{Warnings: []*client.VertexWarning{out}})
	d.completed(v, false, nil)
}

// vertex is a new one that is not an operation's.
func (d *Display) vertex(name string) *client.Vertex {
	d.mu.Lock()
	d.steps++
	id := sha256.Sum256(fmt.Appendf(nil, "step %d %s", d.steps, name))
	d.mu.Unlock()
	return &client.Vertex{Digest: digest.NewDigestFromBytes(digest.SHA256, id[:]), Name: name}
}

// Step shows f as a step of its own, such as "pushing …".
func (d *Display) Step(ctx context.Context, name string, f func(ctx context.Context, log io.Writer) error) error {
	v := d.vertex(name)
	d.started(v)
	log := d.stream(v.Digest, 2)
	err := f(ctx, log)
	log.flush()
	d.completed(v, false, err)
	return err
}

func (d *Display) started(v *client.Vertex) {
	now := time.Now()
	v.Started = &now
	s := *v
	d.send(&client.SolveStatus{Vertexes: []*client.Vertex{&s}})
}

func (d *Display) completed(v *client.Vertex, cached bool, err error) {
	now := time.Now()
	v.Completed, v.Cached = &now, cached
	if err != nil {
		v.Error = string(mask([]byte(err.Error()), d.secrets))
	}
	s := *v
	d.send(&client.SolveStatus{Vertexes: []*client.Vertex{&s}})
}
