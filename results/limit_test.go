package results

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tektoncd/pipeline/pkg/result"
	"github.com/tektoncd/pipeline/pkg/termination"
)

func TestMessageLimit(t *testing.T) {
	for containers, want := range map[int]int{-1: 4096, 0: 4096, 1: 4096, 2: 4096, 3: 4096, 4: 3072, 5: 2457, 8: 1536, 12: 1024} {
		if got := MessageLimit(containers); got != want {
			t.Errorf("MessageLimit(%d) = %d, want %d", containers, got, want)
		}
	}
}

// writeAsTekton does what the entrypoint of a step does with results: first the results,
// then the internal ones, which are added to the same file.
func writeAsTekton(path string, results []Result, at time.Time) error {
	var message []result.RunResult
	for _, r := range results {
		message = append(message, result.RunResult{Key: r.Name, Value: r.Value, ResultType: result.TaskRunResultType})
	}
	if err := termination.WriteMessage(path, message); err != nil {
		return err
	}
	return termination.WriteMessage(path, []result.RunResult{{
		Key:        "StartedAt",
		Value:      at.Format("2006-01-02T15:04:05.000Z07:00"),
		ResultType: result.InternalTektonResultType,
	}})
}

func TestMessageSizeIsTektons(t *testing.T) {
	at := time.Date(2026, 11, 23, 14, 0, 0, 0, time.FixedZone("", 3600))
	image := Image{Destinations: []string{app + ":v1", app + ":v2"}, Digest: digest, Pushed: true}
	values, err := image.Results()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]Result{
		"an image":              values,
		"empty values":          {{"IMAGE_URL", ""}, {"IMAGES", ""}},
		"what JSON must escape": {{"ERROR_MESSAGE", "a \"quoted\"\n<tag> & \x01 \u2028 ä"}},
	}
	for name, results := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "termination")
			if err := writeAsTekton(path, results, at); err != nil {
				t.Fatal(err)
			}
			written, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got, err := MessageSize(results)
			if err != nil {
				t.Fatal(err)
			}
			if got != len(written) {
				t.Errorf("MessageSize = %d, Tekton writes %d bytes: %s", got, len(written), written)
			}
		})
	}
}

func TestParsedMessageHoldsTheResults(t *testing.T) {
	image := Image{Destinations: []string{app + ":v1"}, Digest: digest, Pushed: true}
	values, err := image.Results()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "termination")
	if err := writeAsTekton(path, values, time.Now()); err != nil {
		t.Fatal(err)
	}
	message, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := termination.ParseMessage(nil, string(message))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range parsed {
		got[p.Key] = p.Value
	}
	for _, want := range values {
		if got[want.Name] != want.Value {
			t.Errorf("Tekton reads %s as %q, want %q", want.Name, got[want.Name], want.Value)
		}
	}
}

func TestOverLimitWhereTektonFails(t *testing.T) {
	at := time.Date(2026, 11, 23, 14, 0, 0, 0, time.FixedZone("", 3600))
	base := []Result{{"IMAGE_URL", app + ":v1"}, {"IMAGES", ""}}
	size, err := MessageSize(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, extra := range []int{-1, 0, 1} {
		results := []Result{base[0], {"IMAGES", strings.Repeat("x", 4096-size+extra)}}
		warning, err := overLimit(results, MessageLimit(0))
		if err != nil {
			t.Fatal(err)
		}
		tekton := writeAsTekton(filepath.Join(t.TempDir(), "termination"), results, at)
		var tooLong termination.MessageLengthError
		if tekton != nil && !errors.As(tekton, &tooLong) {
			t.Fatal(tekton)
		}
		if (warning != "") != (tekton != nil) || (tekton != nil) != (extra > 0) {
			t.Errorf("4096%+d bytes: warning %q, Tekton's error %v", extra, warning, tekton)
		}
	}
}

func TestOverLimitNamesTheResult(t *testing.T) {
	long := strings.Repeat("x", 1500)
	tests := []struct {
		name    string
		results []Result
		limit   int
		want    string // the result, "" for none
	}{
		{"none at all", nil, 4096, ""},
		{"all fit", []Result{{"A", long}, {"B", long}}, 4096, ""},
		{"the third passes the limit", []Result{{"A", long}, {"B", long}, {"C", long}, {"D", "x"}}, 4096, "C"},
		{"the first alone is too long", []Result{{"A", long + long + long}, {"B", ""}}, 4096, "A"},
		{"a pod of twelve containers", []Result{{"A", ""}, {"B", long}}, MessageLimit(12), "B"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := overLimit(tt.results, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" && got != "" {
				t.Errorf("warning %q, want none", got)
			}
			if tt.want != "" && !strings.HasPrefix(got, "result "+tt.want+" (") {
				t.Errorf("warning %q, want one about %s", got, tt.want)
			}
		})
	}
}
