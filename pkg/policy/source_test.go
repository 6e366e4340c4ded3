package policy

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sources loads a policy of some rules.
func sources(t *testing.T, text string) (*Sources, string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := LoadSources(file)
	return s, file, err
}

// The rules as BuildKit's engine has them.
func TestDecide(t *testing.T) {
	const (
		alpine = "docker-image://docker.io/library/alpine:3"
		file   = "https://example.com/f"
		denied = "denied"
	)
	for name, c := range map[string]struct {
		rules string
		want  Source
		is    string // the identifier, or denied; "" for unchanged
		attrs map[string]string
	}{
		"no rules":        {``, Source{alpine, nil}, "", nil},
		"another":         {`{"action":"DENY","selector":{"identifier":"docker-image://docker.io/library/busybox*"}}`, Source{alpine, nil}, "", nil},
		"wildcard":        {`{"action":"DENY","selector":{"identifier":"docker-image://*"}}`, Source{alpine, nil}, denied, nil},
		"exact":           {`{"action":"DENY","selector":{"identifier":"docker-image://*","match_type":"EXACT"}}`, Source{alpine, nil}, "", nil},
		"regex":           {`{"action":"DENY","selector":{"identifier":"^docker-image://docker[.]io/","matchType":"REGEX"}}`, Source{alpine, nil}, denied, nil},
		"the last counts": {`{"action":"DENY","selector":{"identifier":"*"}},{"action":"ALLOW","selector":{"identifier":"docker-image://docker.io/library/*"}}`, Source{alpine, nil}, "", nil},
		"denied at last":  {`{"action":"ALLOW","selector":{"identifier":"` + alpine + `"}},{"action":"DENY","selector":{"identifier":"*"}}`, Source{alpine, nil}, denied, nil},
		"convert":         {`{"action":"CONVERT","selector":{"identifier":"` + alpine + `"},"updates":{"identifier":"` + alpine + `@sha256:1"}}`, Source{alpine, nil}, alpine + "@sha256:1", nil},
		"convert by parts": {
			`{"action":"CONVERT","selector":{"identifier":"docker-image://docker.io/*"},"updates":{"identifier":"docker-image://mirror.example/${1}"}}`,
			Source{alpine, nil}, "docker-image://mirror.example/library/alpine:3", nil,
		},
		"converted into what is denied": {
			`{"action":"CONVERT","selector":{"identifier":"` + alpine + `"},"updates":{"identifier":"docker-image://x/y:1"}},{"action":"DENY","selector":{"identifier":"docker-image://x/*"}}`,
			Source{alpine, nil}, denied, nil,
		},
		"attributes": {
			`{"action":"CONVERT","selector":{"identifier":"` + file + `"},"updates":{"attrs":{"http.checksum":"sha256:1"}}}`,
			Source{file, map[string]string{"http.filename": "f"}}, file, map[string]string{"http.filename": "f", "http.checksum": "sha256:1"},
		},
		"constraint that holds": {
			`{"action":"DENY","selector":{"identifier":"https://*","constraints":[{"key":"http.checksum","condition":"EQUAL","value":""}]}}`,
			Source{file, nil}, denied, nil,
		},
		"constraint that does not": {
			`{"action":"DENY","selector":{"identifier":"https://*","constraints":[{"key":"http.checksum","condition":"MATCHES","value":"^$"}]}}`,
			Source{file, map[string]string{"http.checksum": "sha256:1"}}, "", map[string]string{"http.checksum": "sha256:1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, path, err := sources(t, `{"version":1,"rules":[`+c.rules+`]}`)
			if err != nil {
				t.Fatal(err)
			}
			before := maps.Clone(c.want.Attrs)
			got, err := s.Decide(t.Context(), c.want)
			if !maps.Equal(c.want.Attrs, before) {
				t.Errorf("the source that was asked for is changed: %v", c.want.Attrs)
			}
			if c.is == denied {
				var e *DeniedError
				if !errors.As(err, &e) || e.Policy != path || !strings.Contains(err.Error(), "denied by policy") {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if c.is == "" {
				c.is = c.want.Identifier
			}
			if err != nil || got.Identifier != c.is || !maps.Equal(got.Attrs, c.attrs) {
				t.Errorf("got %v, %v; want %s %v", got, err, c.is, c.attrs)
			}
		})
	}
}

func TestNoPolicy(t *testing.T) {
	want := Source{Identifier: "local://context"}
	if got, err := (*Sources)(nil).Decide(t.Context(), want); err != nil || got.Identifier != want.Identifier {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDeniedHidesCredentials(t *testing.T) {
	s, _, err := sources(t, `{"rules":[{"action":"DENY","selector":{"identifier":"https://*"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Decide(t.Context(), Source{Identifier: "https://user:password@example.com/f?token=password"})
	if err == nil || strings.Contains(err.Error(), "password") || !strings.Contains(err.Error(), "example.com/f") {
		t.Errorf("got %v", err)
	}
}

// A conversion that never comes to an end is an error, not a build that hangs.
func TestEndlessConversion(t *testing.T) {
	s, _, err := sources(t, `{"rules":[{"action":"CONVERT","selector":{"identifier":"https://*"},"updates":{"identifier":"https://x/${1}"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Decide(t.Context(), Source{Identifier: "https://example.com/f"}); err == nil {
		t.Errorf("got %v", got)
	}
}

func TestLoadSourcesRefuses(t *testing.T) {
	for text, message := range map[string]string{
		``:                                "end of JSON",
		`[]`:                              "cannot unmarshal",
		`{"rules":[]} {}`:                 "after top-level value",
		`null`:                            "no object",
		`{"version":2}`:                   "newer than 1",
		`{"rule":[]}`:                     "unknown field",
		`{"rules":[null]}`:                "rule 1: there is no selector",
		`{"rules":[{"action":"DENY"}]}`:   "rule 1: there is no selector",
		`{"rules":[{"action":"FORBID"}]}`: "FORBID",
		`{"rules":[{"action":"DENY","selector":{"identifier":"x","match_type":"EXACT","matchType":"EXACT"}}]}`:                      `unknown field "matchType"`,
		`{"rules":[{"action":"DENY","selector":{"identifier":"x","matches":"EXACT"}}]}`:                                             `unknown field "matches"`,
		`{"rules":[{"action":"DENY","selector":{"identifier":"(","match_type":"REGEX"}}]}`:                                          "rule 1: identifier",
		`{"rules":[{"action":"DENY","selector":{"identifier":"x"}},{"action":"CONVERT","selector":{"identifier":"x"}}]}`:            "rule 2: it converts",
		`{"rules":[{"action":"CONVERT","selector":{"identifier":"x*"},"updates":{"attrs":{"k":"v"}}}]}`:                             "no identifier",
		`{"rules":[{"action":"DENY","selector":{"identifier":"x","constraints":[null]}}]}`:                                          "constraint is null",
		`{"rules":[{"action":"DENY","selector":{"identifier":"x","constraints":[{"key":"k","condition":"MATCHES","value":"("}]}}]}`: `constraint on "k"`,
		`{"rules":[{"action":"DENY","selector":{"identifier":"x","constraints":[{"key":"k","condition":"LIKE","value":"x"}]}}]}`:    "LIKE",
	} {
		if _, path, err := sources(t, text); err == nil || !strings.Contains(err.Error(), message) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", text, err, message)
		}
	}
	if _, err := LoadSources("/not/there"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// The policy that the documentation shows does what it says there.
func TestDocumentedPolicy(t *testing.T) {
	page, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "## Source policy\n")
	_, text, _ = strings.Cut(text, "```json\n")
	text, _, _ = strings.Cut(text, "```")
	s, _, err := sources(t, text)
	if err != nil {
		t.Fatal(err)
	}
	for identifier, want := range map[string]string{
		"docker-image://docker.io/library/alpine:3":      "docker-image://registry.example.com/mirror/library/alpine:3",
		"docker-image://registry.example.com/a@sha256:1": "docker-image://registry.example.com/a@sha256:1",
		"docker-image://quay.io/a:1":                     "",
		"https://example.com/f":                          "",
		"git://example.com/r.git":                        "git://example.com/r.git",
	} {
		if got, err := s.Decide(t.Context(), Source{Identifier: identifier}); got.Identifier != want || (err != nil) != (want == "") {
			t.Errorf("%s: got %v, %v, want %q", identifier, got, err, want)
		}
	}
}

// Whatever passes for a policy decides without a panic.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(`{"rules":[{"action":"CONVERT","selector":{"identifier":"docker-image://*"},"updates":{"identifier":"x/${1}"}}]}`), "docker-image://a/b:1")
	f.Add([]byte(`{"rules":[{"action":1,"selector":{"identifier":"^a","match_type":2,"constraints":[{"key":"k","condition":2,"value":"."}]}}]}`), "a")
	f.Fuzz(func(t *testing.T, data []byte, identifier string) {
		p, err := parse(data)
		if err != nil {
			return
		}
		s := newSources("policy.json", p)
		if got, err := s.Decide(t.Context(), Source{Identifier: identifier}); err == nil && len(p.GetRules()) == 0 && got.Identifier != identifier {
			t.Errorf("%q became %q without a rule", identifier, got.Identifier)
		}
	})
}

// What has been decided by another name is not asked about again.
func TestSettled(t *testing.T) {
	s, _, err := sources(t, `{"rules": [{"action": "DENY", "selector": {"identifier": "local://*"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	settled := s.Settled("local://context")
	for identifier, allowed := range map[string]bool{"local://context": true, "local://dockerfile": false} {
		if _, err := settled.Decide(t.Context(), Source{Identifier: identifier}); (err == nil) != allowed {
			t.Errorf("%s: %v", identifier, err)
		}
	}
	if _, err := s.Decide(t.Context(), Source{Identifier: "local://context"}); err == nil {
		t.Error("the policy itself has changed")
	}
	var none *Sources
	if none.Settled("local://context") != nil {
		t.Error("no policy has become one")
	}
}
