package attest

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/pkg/provenance"
)

func TestParseOptions(t *testing.T) {
	full := func(edit func(*provenance.Options)) *provenance.Options {
		o := &provenance.Options{Max: true, Version: "v1", Filename: "provenance.json"}
		if edit != nil {
			edit(o)
		}
		return o
	}
	empty := ""
	for name, c := range map[string]struct {
		attest           []string
		sbom, provenance string
		args             map[string]string
		want             Options
		err              string
	}{
		"none":                     {},
		"disabled":                 {[]string{"type=provenance,disabled=true"}, "false", "", nil, Options{}, ""},
		"provenance":               {nil, "", "true", nil, Options{Provenance: full(nil)}, ""},
		"provenance with mode":     {nil, "", "mode=min", nil, Options{Provenance: full(func(o *provenance.Options) { o.Max = false })}, ""},
		"full is max":              {[]string{"type=provenance,mode=full"}, "", "", nil, Options{Provenance: full(nil)}, ""},
		"all of provenance":        {[]string{"type=provenance,version=v0.2,builder-id=,reproducible=true,filename=p.json,complete-materials=1,inline-only=false"}, "", "", nil, Options{Provenance: &provenance.Options{Max: true, Version: "v0.2", BuilderID: &empty, Reproducible: true, CompleteMaterials: true, Filename: "p.json"}}, ""},
		"the flag of its own wins": {[]string{"type=provenance,mode=max"}, "", "mode=min", nil, Options{Provenance: full(func(o *provenance.Options) { o.Max = false })}, ""},
		"sbom":                     {nil, "true", "", nil, Options{SBOM: &SBOM{SPDX: true}}, ""},
		"sbom in both formats":     {nil, "format=both", "", nil, Options{SBOM: &SBOM{SPDX: true, CycloneDX: true}}, ""},
		"sbom as CycloneDX":        {nil, "format=cyclonedx", "", nil, Options{SBOM: &SBOM{CycloneDX: true}}, ""},
		"sbom by an image":         {[]string{"type=sbom,generator=example.com/scan:1,LEVEL=2"}, "", "", nil, Options{SBOM: &SBOM{SPDX: true, Generator: "example.com/scan:1", Parameters: map[string]string{"LEVEL": "2"}}}, ""},
		"build arguments":          {nil, "", "", map[string]string{"BUILDKIT_ATTEST_SBOM": "", "BUILDKIT_ATTEST_PROVENANCE": "mode=min", "X": "1"}, Options{SBOM: &SBOM{SPDX: true}, Provenance: full(func(o *provenance.Options) { o.Max = false })}, ""},
		"flags before arguments":   {nil, "", "false", map[string]string{"BUILDKIT_ATTEST_PROVENANCE": "mode=min"}, Options{}, ""},
		"no type":                  {[]string{"mode=max"}, "", "", nil, Options{}, "has no type"},
		"unknown type":             {[]string{"type=vex"}, "", "", nil, Options{}, `no attestation of type "vex"`},
		"unknown mode":             {nil, "", "mode=some", nil, Options{}, `"some" is neither min nor max`},
		"unknown version":          {nil, "", "version=v2", nil, Options{}, "neither v1 nor v0.2"},
		"unknown attribute":        {nil, "", "x=y", nil, Options{}, "attestation provenance: x: there are mode"},
		"unknown format":           {nil, "format=swid", "", nil, Options{}, `"swid" is none of`},
		"unknown of sbom":          {nil, "x=y", "", nil, Options{}, "there is no x"},
		"twice":                    {nil, "", "mode=min,mode=max", nil, Options{}, "given twice"},
		"a path as file":           {nil, "", "filename=a/b", nil, Options{}, "not the name of a file"},
		"inline":                   {nil, "", "inline-only=true", nil, Options{}, "not supported"},
		"disabled how":             {[]string{"type=sbom,disabled=maybe"}, "", "", nil, Options{}, "disabled"},
		"no CSV":                   {[]string{`type="`}, "", "", nil, Options{}, "--attest"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseOptions(c.attest, c.sbom, c.provenance, c.args)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %s", err, c.err)
				}
				return
			}
			if err != nil || got.None() != (c.want == Options{}) {
				t.Fatalf("got %+v, %v", got, err)
			}
			if got.SBOM != nil && len(got.SBOM.Parameters) == 0 {
				got.SBOM.Parameters = nil
			}
			if !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got %+v, want %+v", *got, c.want)
			}
		})
	}
}

func TestStatement(t *testing.T) {
	digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, `[{"name":"_","digest":{"sha256":"` + digest.Hex + `"}}]`},
		{[]string{"example.com/team/app:v1", "app"}, `[{"name":"pkg:docker/example.com/team/app@v1?platform=linux%2Farm64","digest":{"sha256":"` + digest.Hex +
			`"}},{"name":"pkg:docker/app@latest?platform=linux%2Farm64","digest":{"sha256":"` + digest.Hex + `"}}]`},
	} {
		s, err := NewStatement("x.json", "https://example.com/x", json.RawMessage(`{"a":1}`), Subject{Names: c.names, Digest: digest, Platform: v1.Platform{OS: "linux", Architecture: "arm64"}})
		if err != nil {
			t.Fatal(err)
		}
		want := `{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://example.com/x","subject":` + c.want + `,"predicate":{"a":1}}`
		if string(s.Content) != want || s.Name != "x.json" || s.PredicateType != "https://example.com/x" {
			t.Errorf("got %s\nwant %s", s.Content, want)
		}
	}
	other, err := NewStatementAbout("x", "y", json.RawMessage("{}"), map[string]map[string]string{"b": {"sha256": "2"}, "a": {"sha256": "1"}})
	if err != nil || !strings.Contains(string(other.Content), `"subject":[{"name":"a","digest":{"sha256":"1"}},{"name":"b","digest":{"sha256":"2"}}]`) {
		t.Errorf("got %s, %v", other.Content, err)
	}
	if _, err := NewStatement("x", "y", nil, Subject{Names: []string{"NOT A NAME"}, Digest: digest}); err == nil {
		t.Error("no error for a name that is none")
	}
}
