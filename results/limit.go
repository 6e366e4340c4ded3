package results

import (
	"encoding/json"
	"fmt"

	"github.com/tektoncd/pipeline/pkg/result"
	"github.com/tektoncd/pipeline/pkg/termination"
)

// kubeletTotal is how many bytes of termination messages the kubelet keeps for all containers
// of a pod together (k8s.io/kubernetes pkg/kubelet/status, MaxPodTerminationMessageLogLength).
const kubeletTotal = 12288

// startedAt is what Tekton's entrypoint adds to the results of every step. The time is
// written with an offset, the longer one of its two forms.
func startedAt() result.RunResult {
	return result.RunResult{
		Key:        "StartedAt",
		Value:      "2006-01-02T15:04:05.000+07:00",
		ResultType: result.InternalTektonResultType,
	}
}

// MessageLimit is the number of bytes that one container's termination message may have in a
// pod of so many containers, init containers included; 0 stands for a pod that is small
// enough not to matter. Tekton fails a step whose message is longer than 4096 bytes; the
// kubelet, which shares 12288 bytes between all containers, cuts it silently, and a cut
// message loses all results.
func MessageLimit(containers int) int {
	if containers <= 0 {
		return termination.MaxContainerTerminationMessageLength
	}
	return min(termination.MaxContainerTerminationMessageLength, kubeletTotal/containers)
}

// MessageSize is the size in bytes of the termination message by which Tekton's entrypoint
// passes these results on, when it does not compress them.
func MessageSize(results []Result) (int, error) {
	message := make([]result.RunResult, 0, len(results)+1)
	for _, r := range results {
		message = append(message, result.RunResult{Key: r.Name, Value: r.Value, ResultType: result.TaskRunResultType})
	}
	data, err := json.Marshal(append(message, startedAt()))
	if err != nil {
		return 0, fmt.Errorf("results: computing the size of the termination message: %w", err)
	}
	return len(data), nil
}

// overLimit describes the first of results with which the message passes the limit; "" when
// all of them fit.
func overLimit(results []Result, limit int) (string, error) {
	total, err := MessageSize(results)
	if err != nil || total <= limit {
		return "", err
	}
	for n := range results {
		size, err := MessageSize(results[:n+1])
		if err != nil {
			return "", err
		}
		if size > limit {
			return fmt.Sprintf("result %s (%d bytes) makes Tekton's termination message %d bytes long, above the limit of %d: "+
				"Tekton will fail this step or lose its results", results[n].Name, len(results[n].Value), total, limit), nil
		}
	}
	return "", nil
}
