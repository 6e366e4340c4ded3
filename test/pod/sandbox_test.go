package pod_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/test/pod"
)

// What takes privilege elsewhere works in a restricted pod, inside the sandbox: owners, other users, setuid
// programs and caches with files of several users, whose modes keep the builder itself out.
func TestSandboxInRestrictedPod(t *testing.T) {
	spec, image := slipwaySpec(t, pod.Restricted(), `
FROM base AS filling
RUN mkdir /in && touch /in/f && chown 70001:70002 /in /in/f && chmod 2755 /in && chmod 0000 /in/f
FROM base
RUN --mount=type=cache,target=/cache echo x >/cache/f && chown demo:demo /cache /cache/f && chmod 0400 /cache/f
RUN --mount=type=cache,target=/cache stat -c '%U %a' /cache/f > /seen
RUN --mount=type=cache,target=/owned,uid=70001,gid=70002,mode=0750 stat -c '%u:%g %a' /owned >/owner && touch /owned/f
RUN --mount=type=cache,target=/filled,from=filling,source=/in stat -c '%u:%g %a' /filled /filled/f >/fill
RUN cp /bin/busybox /bin/own && chown 70000:70000 /bin/own && chmod 4755 /bin/own && mkdir /work && chmod 1777 /work
USER demo
RUN id -u && ! cat /etc/shadow 2>/dev/null && touch /work/of-demo && stat -c %u /work/of-demo > /work/uid
RUN --network=none grep -c : /proc/net/dev > /work/interfaces
`, "--isolation=sandbox")
	result := pod.Run(t, spec)
	if result.ExitCode != 0 {
		t.Fatalf("exit code %d\n%s%s", result.ExitCode, result.Stdout, result.Stderr)
	}
	sameAsBefore(t, result)
	lines, contents := entries(t, image)
	for name, want := range map[string]string{"seen": "demo 400\n", "owner": "70001:70002 750\n", "fill": "70001:70002 2755\n70001:70002 0\n", "work/uid": "1000\n", "work/interfaces": "1\n"} {
		if contents[name] != want {
			t.Errorf("%s holds %q, want %q", name, contents[name], want)
		}
	}
	all := "\n" + strings.Join(lines, "\n") + "\n"
	for _, want := range []string{"urwxr-xr-x : bin/own", "-rw-r--r-- demo:demo work/of-demo"} {
		if !strings.Contains(all, "\n"+want+"\n") {
			t.Errorf("there is no %q in%s", want, all)
		}
	}
}
