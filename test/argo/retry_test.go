package argo

import (
	"strconv"
	"testing"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/util/expr/argoexpr"
	"github.com/argoproj/argo-workflows/v3/util/expr/env"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
)

// retries says whether the controller tries a node again that failed with an exit code.
func retries(t *testing.T, strategy *wfv1.RetryStrategy, exitCode int) bool {
	t.Helper()
	switch strategy.RetryPolicyActual() {
	case wfv1.RetryPolicyAlways, wfv1.RetryPolicyOnFailure:
	default:
		return false
	}
	again, err := argoexpr.EvalBool(strategy.Expression, env.GetFuncMap(map[string]any{
		common.LocalVarRetries:             "0",
		common.LocalVarRetriesLastExitCode: strconv.Itoa(exitCode),
		common.LocalVarRetriesLastStatus:   string(wfv1.NodeFailed),
		common.LocalVarRetriesLastDuration: "1",
		common.LocalVarRetriesLastMessage:  "Error (exit code " + strconv.Itoa(exitCode) + ")",
	}))
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// Only a failure that may go away is tried again; -1 is what the controller takes for a pod without an
// exit code.
func TestRetryStrategy(t *testing.T) {
	for _, name := range []string{"build", "index", "cache-warm"} {
		strategy := templateNamed(t, slipway(t), name).RetryStrategy
		if strategy == nil || strategy.Limit == nil || strategy.Limit.IntValue() != 3 {
			t.Fatalf("%s: retryStrategy %+v", name, strategy)
		}
		// A limit of time would end a build that is running.
		if strategy.Backoff == nil || strategy.Backoff.MaxDuration != "" {
			t.Errorf("%s: backoff %+v", name, strategy.Backoff)
		}
		for code, want := range map[int]bool{75: true, 1: false, 2: false, 7: false, 77: false, 137: false, 143: false, -1: false} {
			if got := retries(t, strategy, code); got != want {
				t.Errorf("%s: after exit code %d it is tried again: %v", name, code, got)
			}
		}
	}
}
