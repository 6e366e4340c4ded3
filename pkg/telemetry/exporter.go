package telemetry

import (
	"context"
	"sync"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// exporter keeps the first error of another one, which the library would write to the log of this process.
type exporter struct {
	sdk.SpanExporter

	mu  sync.Mutex
	err error
}

// ExportSpans implements sdk.SpanExporter.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
	return nil
}

func (e *exporter) failure() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}
