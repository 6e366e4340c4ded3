package image

import (
	"fmt"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Histories are written as words: the instruction, "-" in front if it makes no layer, and the
// hour it was made at behind "@" if it has a time.
func parseHistory(t *testing.T, s string) []ocispec.History {
	t.Helper()
	var out []ocispec.History
	for w := range strings.FieldsSeq(s) {
		var h ocispec.History
		by, at, ok := strings.Cut(w, "@")
		if ok {
			h.Created = hour(t, at)
		}
		h.CreatedBy, h.EmptyLayer = strings.CutPrefix(by, "-")
		out = append(out, h)
	}
	return out
}

func hour(t *testing.T, s string) *time.Time {
	t.Helper()
	var n int
	if _, err := fmt.Sscan(s, &n); err != nil {
		t.Fatalf("%q is no hour", s)
	}
	at := time.Unix(int64(n)*3600, 0).UTC()
	return &at
}

func formatHistory(history []ocispec.History) string {
	var words []string
	for _, h := range history {
		w := strings.ReplaceAll(h.CreatedBy, " ", "_")
		if h.EmptyLayer {
			w = "-" + w
		}
		if h.Created != nil {
			w += fmt.Sprintf("@%d", h.Created.Unix()/3600)
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

func TestNormalizeHistory(t *testing.T) {
	for name, test := range map[string]struct {
		history string
		layers  string // the hours that layers were made at, "?" if unknown
		want    string
	}{
		"nothing":                            {"", "", ""},
		"complete":                           {"ADD@1 -CMD@1", "1", "ADD@1 -CMD@1"},
		"layers give their times":            {"ADD@1 RUN COPY", "1 5 6", "ADD@1 RUN@5 COPY@6"},
		"metadata is as old as what follows": {"ADD@1 -ENV RUN", "1 5", "ADD@1 -ENV@5 RUN@5"},
		"metadata after a layer":             {"ADD@1 RUN -CMD", "1 5", "ADD@1 RUN@5 -CMD@5"},
		"metadata between":                   {"ADD@1 RUN -ENV COPY -CMD", "1 5 7", "ADD@1 RUN@5 -ENV@7 COPY@7 -CMD@7"},
		"metadata between, later on":         {"ADD@1 RUN -ENV COPY -ENV COPY", "1 5 7 9", "ADD@1 RUN@5 -ENV@7 COPY@7 -ENV@7 COPY@9"},
		"only metadata on a base":            {"ADD@1 -ENV@2 -CMD -LABEL", "1", "ADD@1 -ENV@2 -CMD@2 -LABEL@2"},
		"only metadata on nothing":           {"-ENV -CMD", "", "-ENV -CMD"},
		"metadata first on nothing":          {"-ENV COPY -CMD", "4", "-ENV@4 COPY@4 -CMD@4"},
		"base without times":                 {"ADD -CMD RUN", "? 9", "ADD@9 -CMD@9 RUN@9"},
		"layers without history":             {"ADD@1", "1 5 6", "ADD@1 made5@5 made6@6"},
		"no history at all":                  {"", "5 6", "made5@5 made6@6"},
		"too much history":                   {"ADD@1 RUN@2 COPY@3", "1 2", "ADD@1 RUN@2 -COPY@3"},
		"history of nothing":                 {"ADD@1", "", "-ADD@1"},
	} {
		t.Run(name, func(t *testing.T) {
			var info []LayerInfo
			for w := range strings.FieldsSeq(test.layers) {
				i := LayerInfo{Description: "made" + w}
				if w != "?" {
					i.Created = *hour(t, w)
				}
				info = append(info, i)
			}
			got := formatHistory(normalizeHistory(parseHistory(t, test.history), len(info), info))
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestClampHistory(t *testing.T) {
	for name, test := range map[string]struct{ history, base, want string }{
		"later times":          {"RUN@5 COPY@9", "", "RUN@5 COPY@7"},
		"no time":              {"RUN", "", "RUN@7"},
		"base keeps its times": {"ADD@9 -CMD@9 RUN@9", "ADD@9 -CMD@9", "ADD@9 -CMD@9 RUN@7"},
		"diverged base":        {"ADD@9 RUN@9", "ADD@9 -CMD@9", "ADD@9 RUN@7"},
		"another base":         {"ADD@8 -CMD@9", "ADD@9 -CMD@9", "ADD@7 -CMD@7"},
	} {
		t.Run(name, func(t *testing.T) {
			h := parseHistory(t, test.history)
			clampHistory(h, parseHistory(t, test.base), *hour(t, "7"))
			if got := formatHistory(h); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}
