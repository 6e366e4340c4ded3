package progress

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Meter writes how much of a build is done as lines "N/100" to a file, of which Argo Workflows reads
// the last line every few seconds (docs/progress.md of Argo Workflows, $ARGO_PROGRESS_FILE). N never
// falls, and is 100 only after Finish. It is safe for concurrent use.
type Meter struct {
	mu                    sync.Mutex
	file                  *os.File // nil: nobody wants to know
	expected, done, shown int
	err                   error
}

// NewMeter opens the file at path for appending; with an empty path the meter does nothing.
func NewMeter(path string) (*Meter, error) {
	if path == "" {
		return &Meter{}, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("progress file: %w", err)
	}
	return &Meter{file: f}, nil
}

// Expect adds n to the steps that the build will take.
func (m *Meter) Expect(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expected += n
}

// Observe returns an executor that counts the vertices that next has executed.
func (m *Meter) Observe(next solve.Executor) solve.Executor { return &metered{next, m} }

// Finish says that everything is done. It returns the first error that writing to the file gave.
func (m *Meter) Finish() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.show(100)
	return m.err
}

// Close closes the file.
func (m *Meter) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file == nil {
		return nil
	}
	f := m.file
	m.file = nil
	return f.Close()
}

func (m *Meter) step() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done++
	if m.expected > 0 {
		m.show(min(100*m.done/m.expected, 99))
	}
}

func (m *Meter) show(percent int) {
	if m.file == nil || percent <= m.shown {
		return
	}
	m.shown = percent
	if _, err := fmt.Fprintf(m.file, "%d/100\n", percent); err != nil && m.err == nil {
		m.err = fmt.Errorf("progress file: %w", err)
	}
}

type metered struct {
	next  solve.Executor
	meter *Meter
}

// Key implements solve.Executor.
func (e *metered) Key(ctx context.Context, v *op.Vertex, in []op.Input) (op.Key, error) {
	return e.next.Key(ctx, v, in)
}

// Execute implements solve.Executor.
func (e *metered) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	trees, err := e.next.Execute(ctx, v, in)
	if err == nil {
		e.meter.step()
	}
	return trees, err
}
