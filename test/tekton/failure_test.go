package tekton_test

import (
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
)

// TestFailures has builds that fail: the step's exit code is slipway's, and the results say what failed.
func TestFailures(t *testing.T) {
	app := func(dockerfile string) build {
		return build{params: map[string]any{"IMAGE": image}, source: map[string]string{"Dockerfile": dockerfile}}
	}
	failing := app("FROM REGISTRY/base:1\n\nRUN echo trying; exit 42\n")
	inPlace := failing
	inPlace.seccomp = true
	elsewhere := app(scratch)
	elsewhere.params = map[string]any{"IMAGE": image, "CONTEXT": "missing"}
	for _, test := range []struct {
		name    string
		build   build
		code    int
		reason  string
		message []string
	}{
		{"RUN", failing, 42, "RunFailed", []string{"Dockerfile:3", "exit code: 42"}},
		{"RUN in place", inPlace, 42, "RunFailed", []string{"Dockerfile:3", "exit code: 42"}},
		{"unknown instruction", app("FROM REGISTRY/base:1\nRUM true\n"), 1, "DockerfileError", []string{"Dockerfile:2", "RUM"}},
		{"missing file", app("FROM scratch\nCOPY nothing /\n"), 1, "DockerfileError", []string{"Dockerfile:2", "nothing"}},
		{"missing base image", app("FROM REGISTRY/nothing:1\n"), 1, "RegistryRefused", []string{"Dockerfile:1", "REGISTRY/nothing:1"}},
		{"no context", build{params: map[string]any{"IMAGE": image}}, 2, "UsageError", []string{"there is no build context"}},
		{"missing context", elsewhere, 2, "UsageError", []string{"missing"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := test.build.run(t)
			o.failed(t, test.code, test.reason, test.message...)
			o.notPushed(t, image)
		})
	}
}

// TestRegistryRefuses has a registry that lets nobody write.
func TestRegistryRefuses(t *testing.T) {
	server := serveRegistry(t, "127.0.0.1", false, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet && r.Method != http.MethodHead {
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte(`{"errors":[{"code":"DENIED","message":"this repository is read-only"}]}`))
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	b := build{params: map[string]any{"IMAGE": image}, source: map[string]string{"Dockerfile": scratch, "file": ""}}
	b.runAt(t, server.host).failed(t, 1, "RegistryRefused", "REGISTRY/team/app", "this repository is read-only")
}

// TestRegistryIsAway has no registry at all.
func TestRegistryIsAway(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := listener.Addr().String()
	listener.Close()
	b := build{params: map[string]any{"IMAGE": image}, source: map[string]string{"Dockerfile": scratch, "file": ""}}
	b.runAt(t, host).failed(t, 75, "RegistryUnavailable", "REGISTRY", "connection refused")
}

// TestTermination is what kubelet does when the TaskRun is cancelled: Tekton's entrypoint passes the signal on.
func TestTermination(t *testing.T) {
	for _, seccomp := range both() {
		b := build{
			params:  map[string]any{"IMAGE": image},
			source:  map[string]string{"Dockerfile": "FROM REGISTRY/base:1\nRUN echo now it$(echo sleeps); sleep 100\n"},
			seccomp: seccomp,
		}
		name := "namespaces"
		if seccomp {
			name = "in place"
		}
		t.Run(name, func(t *testing.T) {
			s := b.start(t, serve(t).Host)
			s.pod.Container(s.step()).Expect("now itsleeps")
			s.pod.Container(s.step()).Signal(syscall.SIGTERM)
			o := s.wait()
			o.failed(t, 128+int(syscall.SIGTERM), "Interrupted")
			o.notPushed(t, image)
		})
	}
}

// TestArraysHoldNoFlags tries to smuggle flags through each array parameter, as somebody could who may choose the
// elements of one, but not the Task.
func TestArraysHoldNoFlags(t *testing.T) {
	host := serve(t).Host
	for _, p := range task(t, "slipway").Spec.Params {
		if p.Type != v1.ParamTypeArray {
			continue
		}
		for _, elements := range smuggled(p.Name) {
			t.Run(p.Name+" "+strings.Join(elements, " "), func(t *testing.T) {
				t.Parallel()
				b := build{
					params: map[string]any{"IMAGE": image, p.Name: elements},
					source: map[string]string{"Dockerfile": scratch, "file": ""},
				}
				o := b.runAt(t, host)
				// Slipway stops before it knows where the results go.
				o.failed(t, 2, "")
				o.notPushed(t, image)
				o.notPushed(t, "REGISTRY/else:1")
				if flag, _, _ := strings.Cut(elements[0], "="); !strings.Contains(o.step.Stderr, flag) {
					t.Errorf("the message does not name %s: %s", flag, o.step.Stderr)
				}
			})
		}
	}
}

// smuggled are elements that would do something if they were taken for flags.
func smuggled(param string) [][]string {
	flag, list, own := []string{"--tag=REGISTRY/else:1"}, []string{"--tags", "REGISTRY/else:1"}, []string{"--extra-args", "--no-push"}
	switch param {
	case "EXTRA_ARGS":
		// They are flags. But they do not begin a list anew, in which more could follow.
		return [][]string{list, own}
	case "PLATFORMS", "TAGS", "BUILD_ARGS":
		return [][]string{flag, list, own}
	default:
		return [][]string{flag}
	}
}
