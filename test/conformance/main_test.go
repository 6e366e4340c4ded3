package main

import (
	"strings"
	"testing"
)

func TestWithShims(t *testing.T) {
	const source = `import (
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	real "github.com/moby/buildkit/util/testutil/integration"
)
`
	const want = `import (
	"github.com/slipway-build/slipway/test/conformance/shim/client"
	"github.com/moby/buildkit/client/llb"
	real "github.com/slipway-build/slipway/test/conformance/shim/integration"
)
`
	if got := string(withShims([]byte(source))); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestReadOutcomes(t *testing.T) {
	event := func(action, test string) string {
		return `{"Action":"` + action + `","Test":"` + test + `","Output":"x"}` + "\n"
	}
	const root = "TestIntegration/"
	for name, c := range map[string]struct {
		events string
		want   map[string]outcome
	}{
		"passed":           {event("run", root+"TestA/worker=slipway/frontend=builtin") + event("pass", root+"TestA/worker=slipway/frontend=builtin"), map[string]outcome{"TestA": passed}},
		"one fails":        {event("fail", root+"TestA/worker=slipway/frontend=builtin/x=1") + event("pass", root+"TestA/worker=slipway/frontend=builtin/x=2"), map[string]outcome{"TestA": failed}},
		"one skips":        {event("pass", root+"TestA/worker=slipway/frontend=builtin/x=1") + event("skip", root+"TestA/worker=slipway/frontend=builtin/x=2"), map[string]outcome{"TestA": passed}},
		"all skip":         {event("skip", root+"TestA/worker=slipway"), map[string]outcome{"TestA": skipped}},
		"never ended":      {event("run", root+"TestA/worker=slipway/frontend=builtin") + event("output", root+"TestA/worker=slipway/frontend=builtin"), map[string]outcome{"TestA": failed}},
		"tests of a test":  {event("skip", root+"TestA/worker=slipway/frontend=builtin/sub") + event("pass", root+"TestA/worker=slipway/frontend=builtin"), map[string]outcome{"TestA": passed}},
		"parents, package": {event("pass", "TestIntegration") + event("pass", ""), map[string]outcome{}},
	} {
		got, _, err := readOutcomes(strings.NewReader(c.events))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(got) != len(c.want) || got["TestA"] != c.want["TestA"] {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	if _, _, err := readOutcomes(strings.NewReader("no JSON\n")); err == nil {
		t.Error("takes anything for output of go test -json")
	}
}

// The two suites have tests of the same name.
func TestOutcomesOfTwoSuites(t *testing.T) {
	const test = `"Test":"TestIntegration/TestA/worker=slipway","Output":"x"}` + "\n"
	got, printed, err := readOutcomes(strings.NewReader(
		`{"Action":"pass","Package":"x/generated/dockerfile",` + test + `{"Action":"fail","Package":"x/generated/client",` + test))
	if err != nil {
		t.Fatal(err)
	}
	if got["TestA"] != passed || got["client.TestA"] != failed || printed["client.TestA"] != "x" {
		t.Errorf("got %v, %v", got, printed)
	}
}

func TestReport(t *testing.T) {
	for name, c := range map[string]struct {
		outcome  outcome
		list     string
		surprise string
	}{
		"passes":                    {passed, "", ""},
		"newly fails":               {failed, "", "TestA fails"},
		"fails as listed":           {failed, "TestA fails for a reason", ""},
		"no longer fails":           {passed, "TestA fails for a reason", "TestA passes"},
		"fails elsewhere":           {failed, "TestA fails@inplace for a reason", "TestA fails"},
		"not applicable":            {skipped, "TestA n/a for a reason", ""},
		"skips":                     {skipped, "TestA skips for a reason", ""},
		"skips here only":           {passed, "TestA skips for a reason", ""},
		"fails for the machine":     {failed, "TestA depends on something", ""},
		"passes by the machine":     {passed, "TestA depends on something", ""},
		"fails before it skips":     {failed, "TestA skips for a reason", "TestA fails"},
		"skips and is not listed":   {skipped, "", "TestA skips itself"},
		"listed and does not exist": {passed, "TestB fails for a reason", "TestB is listed"},
	} {
		list, err := parseExpectations("# comment\n\n"+c.list+"\n", "namespace")
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		err = report(&out, map[string]outcome{"TestA": c.outcome}, transcript{"TestA": "what it printed"}, list, true)
		switch {
		case c.surprise == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.surprise != "" && (err == nil || !strings.Contains(err.Error(), c.surprise)):
			t.Errorf("%s: error %v, want %q", name, err, c.surprise)
		}
		if unexpected := strings.HasSuffix(c.surprise, " fails"); unexpected != strings.Contains(out.String(), "what it printed") {
			t.Errorf("%s: what it printed should be there: %v; got\n%s", name, unexpected, out.String())
		}
		if !strings.Contains(out.String(), ", 1 tests: 1 ") {
			t.Errorf("%s: no totals in\n%s", name, out.String())
		}
	}
}

func TestExpectations(t *testing.T) {
	for name, text := range map[string]string{
		"no reason":    "TestA fails",
		"unknown kind": "TestA breaks for a reason",
		"twice":        "TestA fails for a reason\nTestA n/a for another",
	} {
		if list, err := parseExpectations(text, "namespace"); err == nil {
			t.Errorf("%s: got %v", name, list)
		}
	}
	for _, isolation := range []string{"namespace", "inplace", "sandbox"} {
		if _, err := readExpectations(expectations, isolation); err != nil {
			t.Error(err)
		}
	}
}
