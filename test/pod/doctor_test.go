package pod_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/doctor"
	"github.com/slipway-build/slipway/test/pod"
)

// What "slipway doctor" says of each shape of pod.
func TestDoctor(t *testing.T) {
	for _, c := range []struct {
		shape pod.Shape
		// reason is part of why namespace does not work, "" if it does.
		reason string
	}{
		{pod.Default(), ""},
		{pod.UserNS(), ""},
		{pod.Privileged(), ""},
		{pod.ReadonlyRoot(), ""},
		{pod.Baseline(), ""}, // in place
		{pod.Restricted(), "capabilities"},
	} {
		t.Run(c.shape.Name, func(t *testing.T) {
			t.Parallel()
			spec := pod.Slipway(t, c.shape, "doctor", "--output=json", "--state-dir=/workspace/state")
			spec.Volumes = append(spec.Volumes, pod.Volume{Path: "/workspace", Host: pod.EmptyDir(t)})
			res := pod.Run(t, spec)
			want := 0
			if c.reason != "" {
				want = 77
			}
			if res.ExitCode != want {
				t.Errorf("exit code %d, want %d\n%s", res.ExitCode, want, res.Stderr)
			}
			var r doctor.Report
			if err := json.Unmarshal([]byte(res.Stdout), &r); err != nil {
				t.Fatalf("%v in\n%s", err, res.Stdout)
			}
			if r.Works() != (c.reason == "") {
				t.Errorf("works: %v", r.Works())
			}
			if c.reason != "" && !strings.Contains(r.Backends[0].Reason, c.reason) {
				t.Errorf("reason %q does not mention %s", r.Backends[0].Reason, c.reason)
			}
		})
	}
}
