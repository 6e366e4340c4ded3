package telemetry_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/telemetry"
	"github.com/slipway-build/slipway/pkg/tree"
)

// received is what a collector got.
type received struct {
	mu       sync.Mutex
	paths    []string
	headers  []http.Header
	spans    []*tracepb.Span
	resource map[string]string
}

// collect starts a collector.
func collect(t *testing.T) (*received, string) {
	t.Helper()
	got := &received{resource: map[string]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body := r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		data, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
		}
		var request collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(data, &request); err != nil {
			t.Error(err)
		}
		got.mu.Lock()
		defer got.mu.Unlock()
		got.paths, got.headers = append(got.paths, r.URL.Path), append(got.headers, r.Header)
		for _, rs := range request.ResourceSpans {
			for k, v := range values(rs.Resource.Attributes) {
				got.resource[k] = v
			}
			for _, s := range rs.ScopeSpans {
				got.spans = append(got.spans, s.Spans...)
			}
		}
	}))
	t.Cleanup(server.Close)
	return got, server.URL
}

func values(attributes []*commonpb.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range attributes {
		m[a.Key] = a.Value.GetStringValue()
	}
	return m
}

// executor gives nothing, or an error.
type executor struct{ err error }

func (executor) Key(context.Context, *op.Vertex, []op.Input) (op.Key, error) { return op.Key{}, nil }
func (e executor) Execute(context.Context, *op.Vertex, []op.Input) ([]*tree.Tree, error) {
	return nil, e.err
}

// run traces a build of two steps, of which one fails, with an environment.
func run(t *testing.T, env map[string]string) *telemetry.Trace {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value) // the exporter reads some of them itself
	}
	tr, err := telemetry.New(t.Context(), telemetry.Options{
		Env: func(name string) string { return env[name] }, Version: "v1",
		Mask: func(s string) string { return strings.ReplaceAll(s, "hush", "***") },
	})
	if err != nil {
		t.Fatal(err)
	}
	end := tr.Start("build", map[string]string{"slipway.tags": "r.example.com/app"})
	for name, failure := range map[string]error{"[2/3] RUN make hush": nil, "[3/3] COPY a b": errors.New("no hush here")} {
		_, err := tr.Observe(executor{failure}).Execute(t.Context(), &op.Vertex{Name: name, Locations: []op.Location{{Filename: "Dockerfile", Start: 7}}}, nil)
		if !errors.Is(err, failure) {
			t.Errorf("%v became %v", failure, err)
		}
	}
	end(nil, map[string]string{"slipway.digest": "sha256:1"})
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	return tr
}

func names(spans []*tracepb.Span) []string {
	var all []string
	for _, s := range spans {
		all = append(all, s.Name)
	}
	slices.Sort(all)
	return all
}

func TestTrace(t *testing.T) {
	got, address := collect(t)
	run(t, map[string]string{
		"KANIKO_TELEMETRY_ENDPOINT": address, "OTEL_EXPORTER_OTLP_HEADERS": "x-key=1", "OTEL_SERVICE_NAME": "ci",
		"OTEL_RESOURCE_ATTRIBUTES": "team=a", "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	})
	if want := []string{"[2/3] RUN make ***", "[3/3] COPY a b", "build"}; !slices.Equal(names(got.spans), want) {
		t.Fatalf("spans are %q, want %q", names(got.spans), want)
	}
	if got.paths[0] != "/v1/traces" || got.headers[0].Get("X-Key") != "1" || got.resource["service.name"] != "ci" || got.resource["team"] != "a" {
		t.Errorf("path %s, headers %v, resource %v", got.paths[0], got.headers[0], got.resource)
	}
	root := got.spans[slices.IndexFunc(got.spans, func(s *tracepb.Span) bool { return s.Name == "build" })]
	for _, s := range got.spans {
		if !slices.Equal(s.TraceId, []byte("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c")) {
			t.Errorf("%s is in another trace", s.Name)
		}
		if s != root && !slices.Equal(s.ParentSpanId, root.SpanId) {
			t.Errorf("%s is not below the build", s.Name)
		}
		failed := s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR
		if failed != strings.Contains(s.Name, "COPY") || strings.Contains(s.Status.GetMessage(), "hush") {
			t.Errorf("%s has the status %v", s.Name, s.Status)
		}
	}
	if a := values(root.Attributes); a["slipway.digest"] != "sha256:1" || a["slipway.tags"] != "r.example.com/app" {
		t.Errorf("the build has %v", a)
	}
}

// The text of the Dockerfile can be left out.
func TestOmitDockerfile(t *testing.T) {
	got, address := collect(t)
	run(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": address, "KANIKO_TELEMETRY_OMIT_DOCKERFILE": "true"})
	if want := []string{"[2/3] RUN", "[3/3] COPY", "build"}; !slices.Equal(names(got.spans), want) {
		t.Errorf("spans are %q, want %q", names(got.spans), want)
	}
}

// Without an endpoint there is no trace, and one that nobody answers is told of once, at the end.
func TestNoCollector(t *testing.T) {
	if tr := run(t, nil); tr != nil {
		t.Error("there is a trace that nobody asked for")
	}
	if _, err := telemetry.New(t.Context(), telemetry.Options{Env: func(string) string { return "http://" }}); err == nil {
		t.Error("an endpoint without a host is accepted")
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer server.Close()
	tr, err := telemetry.New(t.Context(), telemetry.Options{Env: func(name string) string {
		return map[string]string{"KANIKO_TELEMETRY_ENDPOINT": server.URL}[name]
	}})
	if err != nil {
		t.Fatal(err)
	}
	tr.Start("build", nil)(nil, nil)
	if err := tr.Close(); err == nil || !strings.Contains(err.Error(), "telemetry could not be sent") {
		t.Errorf("got %v", err)
	}
}
