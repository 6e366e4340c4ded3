package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What goes wrong gives one message that names the place, the exit code of docs/exit-codes.md,
// and leaves nothing behind.
func TestFailures(t *testing.T) {
	host, base := registryWithBase(t)
	forbidding := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(forbidding.Close)
	forbidden := strings.TrimPrefix(forbidding.URL, "http://")
	nobody := unusedAddress(t)

	from := "ARG BASE\nFROM ${BASE}\n"
	tests := []struct {
		name       string
		dockerfile string
		args       []string // instead of the tag
		root       bool
		code       int
		message    string
		reason     string // the result ERROR_REASON, "" where the command line was not understood
	}{
		{"a syntax error", from + "COPY\n", nil, false, 1, "Dockerfile:3", "DockerfileError"},
		{"an unknown instruction", from + "CPY a b\n", nil, false, 1, "CPY", "DockerfileError"},
		{"an unknown flag of an instruction", from + "COPY --nope a b\n", nil, false, 1, "Dockerfile:3", "DockerfileError"},
		{"a source that is missing", from + "COPY nothing /\n", nil, false, 1, "Dockerfile:3", "DockerfileError"},
		{"a stage that is mistyped", from + "COPY --from=bild /a /\n", nil, false, 1, "bild", "RegistryRefused"},
		{"an unknown target", from, []string{"--target", "nope"}, false, 1, "nope", "BuildFailed"},
		{"a base image that is missing", "FROM " + host + "/no/such:image\n", nil, false, 1, "Dockerfile:1", "RegistryRefused"},
		{"a RUN that fails", from + "RUN echo before\nRUN exit 42\n", nil, true, 42, "Dockerfile:4", "RunFailed"},
		{"a RUN whose command is missing", from + "RUN [\"/nope\"]\n", nil, true, 127, "Dockerfile:3", "RunFailed"},
		{"an unknown flag", from, []string{"--no-such-flag"}, false, 2, "no-such-flag", ""},
		{"an unknown result", from, []string{"--result", "NOPE=x"}, false, 2, "NOPE", "UsageError"},
		{"a file of results that cannot be written", from + "RUN exit 42\n", []string{"-t", host + "/team/failing:v1", "--iidfile", "/proc/nope/id"}, false, 1, "/proc/nope", "BuildFailed"},
		{"a registry that is not there", from + "COPY x /\n", []string{"-t", nobody + "/a:b", "--insecure-registry", nobody}, false, 75, nobody, "RegistryUnavailable"},
		{"a registry that forbids", from + "COPY x /\n", []string{"-t", forbidden + "/a:b", "--insecure-registry", forbidden}, false, 1, "403", "RegistryRefused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.root {
				needRoot(t)
			}
			context := write(t, map[string]string{"Dockerfile": tt.dockerfile, "x": "x"})
			args := []string{"build", "--build-arg", "BASE=" + base, "--insecure-registry", host,
				"--oci-layout-path", "layout", "--tar-path", "image.tar", "--results-dir", "results", "--digest-file", "digest",
				"--metadata-file", "metadata.json"}
			if tt.args == nil {
				args = append(args, "-t", host+"/team/failing:v1")
			}
			dir := t.TempDir()
			got := slipway(t, dir, append(append(args, tt.args...), context)...)
			if got.code != tt.code {
				t.Errorf("exit code %d, want %d", got.code, tt.code)
			}
			if !strings.Contains(got.stderr, tt.message) {
				t.Errorf("the message does not name %q", tt.message)
			}
			if t.Failed() {
				t.Logf("standard error:\n%s", got.stderr)
			}
			checkFailureResults(t, filepath.Join(dir, "results"), tt.reason, tt.message)
			left, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// checkFailureResults checks that there are the results that tell of a failure and no others, and removes
// them.
func checkFailureResults(t *testing.T, dir, reason, message string) {
	t.Helper()
	if reason == "" {
		return
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) != 2 {
		t.Errorf("the results are %v, %v; want those for errors", names, err)
	}
	for name, want := range map[string]string{"ERROR_REASON": reason, "ERROR_MESSAGE": message} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

func TestMissingContext(t *testing.T) {
	dir := t.TempDir()
	got := slipway(t, dir, "build", "--no-push", "nowhere")
	if got.code != 2 || !strings.Contains(got.stderr, "nowhere") {
		t.Errorf("exit code %d, standard error %q", got.code, got.stderr)
	}
}

// unusedAddress is an address on loopback where nothing listens.
func unusedAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}
