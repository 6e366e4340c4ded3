package progress_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/progress"
	"github.com/slipway-build/slipway/pkg/solve"
	"github.com/slipway-build/slipway/pkg/tree"
)

type printing struct {
	stdout []string // one Write each
	err    error
}

func (p printing) Key(context.Context, *op.Vertex, []op.Input) (op.Key, error) { return op.Key{}, nil }

func (p printing) Execute(ctx context.Context, _ *op.Vertex, _ []op.Input) ([]*tree.Tree, error) {
	for _, s := range p.stdout {
		if _, err := io.WriteString(solve.ReportFrom(ctx).Stdout, s); err != nil {
			return nil, err
		}
	}
	return nil, p.err
}

func show(t *testing.T, mode string, secrets []string, p printing) string {
	t.Helper()
	var raw [][]byte
	for _, s := range secrets {
		raw = append(raw, []byte(s))
	}
	var out bytes.Buffer
	d, err := progress.New(&out, mode, raw)
	if err != nil {
		t.Fatal(err)
	}
	v := &op.Vertex{ID: "sha256:" + strings.Repeat("a", 64), Name: "[1/2] RUN make"}
	if _, err := d.Observe(p).Execute(t.Context(), v, nil); !errors.Is(err, p.err) {
		t.Fatalf("the display changed the error: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPlainShowsStepAndOutput(t *testing.T) {
	out := show(t, "plain", nil, printing{stdout: []string{"hello\n", "no newline at the end"}})
	for _, want := range []string{"[1/2] RUN make", "hello", "no newline at the end", "DONE"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in:\n%s", want, out)
		}
	}
}

func TestAutoOnAPipeIsPlain(t *testing.T) {
	if out := show(t, "auto", nil, printing{stdout: []string{"hello\n"}}); !strings.Contains(out, "hello") {
		t.Errorf("got:\n%s", out)
	}
}

func TestQuietShowsNothing(t *testing.T) {
	if out := show(t, "quiet", nil, printing{stdout: []string{"hello\n"}}); out != "" {
		t.Errorf("got:\n%s", out)
	}
}

func TestUnknownModeIsAnError(t *testing.T) {
	if _, err := progress.New(io.Discard, "fancy", nil); err == nil {
		t.Error("no error")
	}
}

func TestSecretsAreMasked(t *testing.T) {
	for name, c := range map[string]struct {
		secrets, writes []string
		want            string
	}{
		"in one write":                {[]string{"hunter22"}, []string{"pw=hunter22;\n"}, "pw=***;"},
		"across writes":               {[]string{"hunter22"}, []string{"pw=hun", "ter", "22;\n"}, "pw=***;"},
		"file with newline at end":    {[]string{"hunter22\n"}, []string{"pw=hunter22;\n"}, "pw=***;"},
		"longest first":               {[]string{"hunter", "hunter22"}, []string{"pw=hunter22;\n"}, "pw=***;"},
		"beginning is not the secret": {[]string{"hunter22"}, []string{"a hunter", " here\n"}, "a hunter here"},
		"too short to mask":           {[]string{"1"}, []string{"1 + 1\n"}, "1 + 1"},
	} {
		t.Run(name, func(t *testing.T) {
			out := show(t, "plain", c.secrets, printing{stdout: c.writes})
			if !strings.Contains(out, c.want) {
				t.Errorf("%q is missing in:\n%s", c.want, out)
			}
		})
	}
}

func TestSecretInAnErrorIsMasked(t *testing.T) {
	out := show(t, "plain", []string{"hunter22"}, printing{err: fmt.Errorf("cannot log in with hunter22")})
	if strings.Contains(out, "hunter22") || !strings.Contains(out, "cannot log in with ***") {
		t.Errorf("got:\n%s", out)
	}
}

func TestWarningsOfNoVertexAreShown(t *testing.T) {
	var out bytes.Buffer
	d, err := progress.New(&out, "plain", [][]byte{[]byte("hunter22")})
	if err != nil {
		t.Fatal(err)
	}
	for _, short := range []string{"the roof leaks", "hunter22 is wet"} {
		d.Warn(progress.Warning{Level: 1, Short: short})
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{" WARN: the roof leaks\n", " WARN: *** is wet\n"} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("%q is not there once in:\n%s", want, &out)
		}
	}
}
