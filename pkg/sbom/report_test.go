package sbom

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// statement is a report with a document.
func statement(document string) string {
	return `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":` + document + `}`
}

func TestReadReports(t *testing.T) {
	var r recorder
	reports, err := ReadReports(t.Context(), tree.New(newLayer(t,
		r.file("sbom-build.spdx.json", 0o644, statement(`{"spdxVersion": "SPDX-2.3"}`)),
		r.file("a.spdx.json", 0o644, `{"predicateType":"https://spdx.dev/Document","predicate":{"a":1},"subject":[{"name":"x","digest":{"sha256":"ab"}}]}`+"\n"),
		r.file("sbom.spdx.json", 0o600, statement("{\n \"big\": 12345678901234567890 }")),
		r.file("sbom.packages.spdx.json", 0o600, statement("{}")),
		link("sbom-link.spdx.json", "/sbom.spdx.json"),
	)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range reports {
		if r.PredicateType != PredicateSPDX {
			t.Errorf("%s is a %s", r.Name, r.PredicateType)
		}
		line := r.Name + " " + string(r.Predicate)
		for _, s := range r.Subjects {
			line += " about " + s.Name + " " + s.Digest["sha256"]
		}
		got = append(got, line)
	}
	want := []string{
		"sbom.packages.spdx.json {}",
		`sbom.spdx.json {"big":12345678901234567890}`,
		`a.spdx.json {"a":1} about x ab`,
		`sbom-build.spdx.json {"spdxVersion":"SPDX-2.3"}`,
		`sbom-link.spdx.json {"big":12345678901234567890}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reports (-want +got):\n%s", diff)
	}
}

// What a scanner should not have written is refused, with the name of the file.
func TestReadReportsRefuses(t *testing.T) {
	var r recorder
	good := r.file("sbom.spdx.json", 0o644, statement("{}"))
	for _, test := range []struct {
		name  string
		files []layer.File
		want  string
	}{
		{"nothing", nil, "has written no report"},
		{"a directory", []layer.File{good, r.file("dir/x.json", 0o644, statement("{}"))}, `"dir"`},
		{"a link out", []layer.File{good, link("x.json", "/etc/passwd")}, `"x.json"`},
		{"a device", []layer.File{good, {Entry: layer.Entry{Path: "x.json", Type: layer.CharDevice}}}, `"x.json"`},
		{"no JSON", []layer.File{good, r.file("x.json", 0o644, "hello")}, "no in-toto statement"},
		{"a bare document", []layer.File{r.file("sbom.spdx.json", 0o644, `{"spdxVersion":"SPDX-2.3"}`)}, `of type ""`},
		{"another predicate", []layer.File{r.file("sbom.spdx.json", 0o644, `{"predicateType":"https://slsa.dev/provenance/v1","predicate":{}}`)}, "slsa"},
		{"no predicate", []layer.File{r.file("sbom.spdx.json", 0o644, statement("null"))}, "no predicate"},
		{"two statements", []layer.File{r.file("sbom.spdx.json", 0o644, statement("{}")+statement("{}"))}, "more than one"},
		{"much", []layer.File{{
			Entry:   layer.Entry{Path: "sbom.spdx.json", Type: layer.Regular, Mode: 0o644, Size: maxReport + 1},
			Content: failing{},
		}}, "too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ReadReports(t.Context(), tree.New(newLayer(t, test.files...)))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
