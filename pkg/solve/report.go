package solve

import (
	"context"
	"io"
	"sync/atomic"
)

// Report connects one execution with whoever observes it. It travels in the context, through all
// decorators.
type Report struct {
	// Stdout and Stderr take what the operation's process prints.
	Stdout, Stderr io.Writer
	hit            atomic.Bool
}

// Hit says that the result came from a cache. It may be called on a nil report.
func (r *Report) Hit() {
	if r != nil {
		r.hit.Store(true)
	}
}

// WasHit reports whether Hit was called.
func (r *Report) WasHit() bool { return r.hit.Load() }

type reportKey struct{}

// WithReport attaches r to ctx.
func WithReport(ctx context.Context, r *Report) context.Context {
	return context.WithValue(ctx, reportKey{}, r)
}

// ReportFrom returns the report in ctx, nil if there is none.
func ReportFrom(ctx context.Context) *Report {
	r, _ := ctx.Value(reportKey{}).(*Report)
	return r
}
