package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// expectation says that a test does not pass, and why.
type expectation struct {
	kind   kind
	reason string
}

// kind is how a test does not pass.
type kind string

const (
	// fails is for what is to become better.
	fails kind = "fails"
	// inapplicable tests are about something that slipway is not; they are not run.
	inapplicable kind = "n/a"
	// skips is for tests that end before their end, at least on some machines. What comes before that is
	// run; they may also pass.
	skips kind = "skips"
	// depends is for tests whose outcome is the machine's.
	depends kind = "depends"
)

// total prints how many tests of a suite ended how, if any were run.
func total(w io.Writer, suite string, counts map[string]int) {
	all := 0
	for _, n := range counts {
		all += n
	}
	if all == 0 {
		return
	}
	fmt.Fprintf(w, "%s, %d tests:", suite, all)
	for _, column := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(w, " %d %s", counts[column], column)
	}
	fmt.Fprintln(w)
}

// mayFail reports whether failing is as expected.
func (e expectation) mayFail() bool { return e.kind == fails || e.kind == depends }

type expectationList map[string]expectation

// readExpectations reads lines "NAME KIND[@ISOLATION] REASON"; those for other isolation backends do not count.
func readExpectations(path, isolation string) (expectationList, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseExpectations(string(data), isolation)
}

func parseExpectations(text, isolation string) (expectationList, error) {
	list := expectationList{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("%q has no reason", line)
		}
		name, reason := fields[0], strings.Join(fields[2:], " ")
		how, only, limited := strings.Cut(fields[1], "@")
		if !slices.Contains([]kind{fails, inapplicable, skips, depends}, kind(how)) {
			return nil, fmt.Errorf("%q: there is no kind %q", line, how)
		}
		if limited && only != isolation {
			continue
		}
		if _, twice := list[name]; twice {
			return nil, fmt.Errorf("%s is listed twice", name)
		}
		list[name] = expectation{kind: kind(how), reason: reason}
	}
	return list, nil
}

// notApplicable is the list of tests not to run, in the form of integration.SkipEnv.
func (l expectationList) notApplicable() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(l)) {
		if l[name].kind == inapplicable {
			fmt.Fprintf(&b, "%s\t%s\n", name, l[name].reason)
		}
	}
	return b.String()
}

// report prints the table, and before it what tests printed that should not have failed. Its error lists
// what is not as expected; that a listed test does not exist counts only if all were run.
func report(w io.Writer, outcomes map[string]outcome, printed transcript, expected expectationList, all bool) error {
	for _, name := range slices.Sorted(maps.Keys(outcomes)) {
		if outcomes[name] == failed && !expected[name].mayFail() {
			fmt.Fprintf(w, "##### %s\n%s\n", name, printed[name])
		}
	}
	var surprises []string
	counts := map[string]map[string]int{"": {}, clientPrefix: {}}
	for _, name := range slices.Sorted(maps.Keys(outcomes)) {
		e := expected[name]
		column, reason := string(outcomes[name]), e.reason
		switch o := outcomes[name]; {
		case o == skipped && e.kind == inapplicable:
			column = "not applicable"
		case o == skipped && e.kind != skips && e.kind != depends:
			surprises = append(surprises, name+" skips itself: list it as skips, with the reason")
		case o == failed && !e.mayFail():
			surprises = append(surprises, name+" fails")
			reason = "NOT EXPECTED " + reason
		case o == passed && e.kind == fails:
			surprises = append(surprises, name+" passes: take it off the list")
			reason = "EXPECTED TO FAIL: " + reason
		case o == passed:
			reason = ""
		}
		suite := ""
		if strings.HasPrefix(name, clientPrefix) {
			suite = clientPrefix
		}
		counts[suite][column]++
		fmt.Fprintf(w, "%-60s %-14s %s\n", name, column, reason)
	}
	if all {
		for _, name := range slices.Sorted(maps.Keys(expected)) {
			if _, ran := outcomes[name]; !ran {
				surprises = append(surprises, name+" is listed, and there is no such test")
			}
		}
	}
	fmt.Fprintln(w)
	total(w, "Dockerfile frontend", counts[""])
	total(w, "client, in LLB", counts[clientPrefix])
	if len(surprises) > 0 {
		return fmt.Errorf("not as %s has it:\n  %s", expectations, strings.Join(surprises, "\n  "))
	}
	return nil
}
