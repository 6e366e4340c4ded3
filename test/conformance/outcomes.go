package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// outcome is how a test ended, all of its combinations taken together.
type outcome string

const (
	passed  outcome = "passed"
	failed  outcome = "failed"
	skipped outcome = "skipped"
)

// and is the outcome of a test of which two parts ended so: one that fails fails all, one that passes is
// enough for those that were skipped.
func (o outcome) and(other outcome) outcome {
	switch {
	case o == failed || other == failed:
		return failed
	case o == passed || other == passed:
		return passed
	}
	return skipped
}

// transcript is what was printed, by the name of the test that printed it, "" for none.
type transcript map[string]string

func (t transcript) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(t)) {
		fmt.Fprintf(&b, "##### %s\n%s\n", name, t[name])
	}
	return b.String()
}

// readOutcomes reads the output of go test -json. It gives the outcomes by the names that BuildKit's list of
// tests has, and all that was printed.
func readOutcomes(r io.Reader) (map[string]outcome, transcript, error) {
	outcomes, unfinished := map[string]outcome{}, map[string]string{} // the latter by the test that is on its way
	printed := transcript{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var event struct{ Action, Package, Test, Output string }
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			return nil, printed, fmt.Errorf("output of go test: %w: %s", err, lines.Bytes())
		}
		// TestIntegration/TestX/worker=slipway/frontend=builtin, and subtests of the test's own.
		parts := strings.Split(event.Test, "/")
		if len(parts) < 3 {
			printed[""] += event.Output
			continue
		}
		name, whole := parts[1], strings.Join(parts[:3], "/")
		if strings.HasSuffix(event.Package, "/client") {
			name = clientPrefix + name
		}
		printed[name] += event.Output
		combination := len(parts) > 3 && strings.Contains(parts[len(parts)-1], "=") || event.Test == whole
		if !combination {
			continue
		}
		switch event.Action {
		case "run":
			unfinished[event.Package+event.Test] = name
			continue
		case "pass":
			outcomes[name] = known(outcomes, name).and(passed)
		case "fail":
			outcomes[name] = failed
		case "skip":
			outcomes[name] = known(outcomes, name).and(skipped)
		default:
			continue
		}
		delete(unfinished, event.Package+event.Test)
	}
	for _, name := range unfinished { // the process ended before them
		outcomes[name] = failed
	}
	return outcomes, printed, lines.Err()
}

func known(outcomes map[string]outcome, name string) outcome {
	if o, ok := outcomes[name]; ok {
		return o
	}
	return skipped
}
