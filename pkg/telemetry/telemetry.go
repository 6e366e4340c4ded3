// Package telemetry sends a trace of a build, with a span for each step, to a collector that speaks OpenTelemetry's protocol
// over HTTP. The environment asks for it, in OpenTelemetry's words or in Kaniko's.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

// flushTimeout is how long the end of a build waits for the collector.
const flushTimeout = 5 * time.Second

// The variables that name a collector: Kaniko's, and those of OpenTelemetry (OTLP exporter specification), which
// the exporter reads itself.
const (
	kanikoEndpoint = "KANIKO_TELEMETRY_ENDPOINT"
	kanikoOmit     = "KANIKO_TELEMETRY_OMIT_DOCKERFILE"
)

// Options say what is traced.
type Options struct {
	// Env looks up an environment variable.
	Env func(string) string
	// Version is slipway's.
	Version string
	// Mask hides secrets in what is sent.
	Mask func(string) string
}

// Trace is the trace of one build. All methods of the nil trace do nothing. It is safe for concurrent use.
type Trace struct {
	opts     Options
	sender   *exporter
	provider *sdk.TracerProvider
	tracer   trace.Tracer
	parent   context.Context // has the span that the environment names, if any
	root     atomic.Pointer[trace.Span]
	omit     bool
}

// New returns the trace that the environment asks for, nil if it names no collector. The collector is not
// contacted before there is something to send.
func New(ctx context.Context, o Options) (*Trace, error) {
	var to []otlptracehttp.Option
	switch endpoint := o.Env(kanikoEndpoint); {
	case endpoint != "":
		u, err := endpointURL(endpoint)
		if err != nil {
			return nil, err
		}
		to = append(to, otlptracehttp.WithEndpointURL(u))
	case o.Env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" && o.Env("OTEL_EXPORTER_OTLP_ENDPOINT") == "":
		return nil, nil
	}
	client, err := otlptracehttp.New(ctx, to...)
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "slipway"), attribute.String("service.version", o.Version),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	sender := &exporter{SpanExporter: client}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(sender), sdk.WithResource(about))
	// Whoever called us may have a span that this build is a part of (W3C Trace Context).
	parent := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{
		"traceparent": o.Env("TRACEPARENT"), "tracestate": o.Env("TRACESTATE"),
	})
	return &Trace{
		opts: o, sender: sender, provider: provider, tracer: provider.Tracer("slipway"), parent: parent,
		omit: isTrue(o.Env(kanikoOmit)),
	}, nil
}

// endpointURL is the URL that an endpoint in Kaniko's variable means: the path is that of OTLP if there is none.
func endpointURL(endpoint string) (string, error) {
	if !strings.Contains(endpoint, "://") {
		endpoint = "https://" + endpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("telemetry: %s is not a URL", kanikoEndpoint)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}

func isTrue(value string) bool {
	return value != "" && value != "0" && !strings.EqualFold(value, "false")
}

// Start begins the span that all others are part of. The function that it returns ends it.
func (t *Trace) Start(name string, attributes map[string]string) (end func(err error, attributes map[string]string)) {
	if t == nil {
		return func(error, map[string]string) {}
	}
	_, span := t.tracer.Start(t.parent, name, trace.WithAttributes(t.attributes(attributes)...))
	t.root.Store(&span)
	return func(err error, attributes map[string]string) {
		span.SetAttributes(t.attributes(attributes)...)
		t.end(span, err)
	}
}

func (t *Trace) attributes(m map[string]string) []attribute.KeyValue {
	var all []attribute.KeyValue
	for key, value := range m {
		all = append(all, attribute.String(key, t.mask(value)))
	}
	return all
}

func (t *Trace) mask(text string) string {
	if t.opts.Mask == nil {
		return text
	}
	return t.opts.Mask(text)
}

func (t *Trace) end(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, t.mask(err.Error()))
	}
	span.End()
}

// Observe returns an executor with a span for each vertex that next executes, below the one of Start.
func (t *Trace) Observe(next solve.Executor) solve.Executor {
	if t == nil {
		return next
	}
	return &traced{next, t}
}

type traced struct {
	next  solve.Executor
	trace *Trace
}

// Key implements solve.Executor.
func (e *traced) Key(ctx context.Context, v *op.Vertex, in []op.Input) (op.Key, error) {
	return e.next.Key(ctx, v, in)
}

// Execute implements solve.Executor.
func (e *traced) Execute(ctx context.Context, v *op.Vertex, in []op.Input) ([]*tree.Tree, error) {
	name, attributes := e.trace.describe(v)
	below := e.trace.parent
	if root := e.trace.root.Load(); root != nil {
		below = trace.ContextWithSpan(below, *root)
	}
	_, span := e.trace.tracer.Start(below, name, trace.WithAttributes(attributes...))
	trees, err := e.next.Execute(ctx, v, in)
	if report := solve.ReportFrom(ctx); report != nil {
		span.SetAttributes(attribute.Bool("slipway.cached", report.WasHit()))
	}
	e.trace.end(span, err)
	return trees, err
}

// describe is what is sent about a vertex: its name, which quotes the Dockerfile, unless that is to be left out, and its
// place.
func (t *Trace) describe(v *op.Vertex) (string, []attribute.KeyValue) {
	name := t.mask(v.Name)
	if t.omit {
		// "[build 2/6] RUN make" becomes "[build 2/6] RUN".
		stage, rest, found := strings.Cut(name, "] ")
		if !found {
			stage, rest = "", name
		} else {
			stage += "] "
		}
		instruction, _, _ := strings.Cut(rest, " ")
		name = stage + instruction
	}
	attributes := []attribute.KeyValue{attribute.Bool("slipway.internal", v.Internal)}
	if len(v.Locations) > 0 {
		l := v.Locations[0]
		attributes = append(attributes, attribute.String("code.file.path", l.Filename), attribute.Int("code.line.number", l.Start))
	}
	return name, attributes
}

// Close sends what has not been sent yet. An error is for the user to know; the build is done all the same.
func (t *Trace) Close() error {
	if t == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	if err := errors.Join(t.provider.Shutdown(ctx), t.sender.failure()); err != nil {
		return fmt.Errorf("telemetry could not be sent: %w", err)
	}
	return nil
}
