package e2e

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// counted is a registry in front of host that remembers which blobs were fetched from it.
func counted(t *testing.T, host string) (front string, blobs func() []string) {
	t.Helper()
	var (
		mu      sync.Mutex
		fetched []string
	)
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, digest, ok := strings.Cut(r.URL.Path, "/blobs/"); ok && r.Method == http.MethodGet {
			mu.Lock()
			fetched = append(fetched, digest)
			mu.Unlock()
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(fetched)
	}
}

// A plan shows a build that could not be done here: its RUN fails, its secret is not given. Of the base,
// nothing but the config is fetched.
func TestPlan(t *testing.T) {
	behind, base := registryWithBase(t)
	front, blobs := counted(t, behind)
	base = strings.Replace(base, behind, front, 1)
	context := write(t, map[string]string{
		"a": "a",
		"Dockerfile": "# The tool.\nFROM " + base + ` AS build
ARG VERSION=1
COPY a /src/a
RUN --mount=type=secret,id=key,required \
    exit 1

FROM scratch
COPY --from=build /out /
`,
	})
	state := t.TempDir()
	plan := func(args ...string) string {
		t.Helper()
		return mustSlipway(t, context, append([]string{"plan", "--state-dir", state, "--platform", "linux/amd64"}, args...)...).stdout
	}

	text := plan()
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if before, after, ok := strings.Cut(line, "@sha256:"); ok {
			line = before + after[64:] // the base's digest
		}
		lines = append(lines, line)
	}
	want := []string{
		"linux/amd64",
		"|  #1 [build 1/3] FROM " + base + " (linux/amd64)  Dockerfile:2",
		"|  |  #2 [internal] load build context  Dockerfile:4",
		"|  #3 [build 2/3] COPY a /src/a  Dockerfile:4 <- #1 #2",
		"|  #4 [build 3/3] RUN --mount=type=secret,id=key,required exit 1 (linux/amd64)  Dockerfile:5-6 <- #3",
		"#5 [stage-1 1/1] COPY --from=build /out /  Dockerfile:9 <- #4",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}

	var graph struct {
		Version int
		Images  []struct {
			Platform string
			Step     int
		}
		Steps []struct {
			Kind string
			Exec struct {
				Mounts []struct {
					Type, ID string
					Required bool
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(plan("--format", "json")), &graph); err != nil {
		t.Fatal(err)
	}
	if graph.Version != 1 || len(graph.Images) != 1 || graph.Images[0].Step != 5 || len(graph.Steps) != 5 {
		t.Fatalf("graph %+v", graph)
	}
	if run := graph.Steps[3]; run.Kind != "exec" || len(run.Exec.Mounts) != 1 || run.Exec.Mounts[0].ID != "key" || !run.Exec.Mounts[0].Required {
		t.Errorf("RUN is %+v", run)
	}
	if dot := plan("--format=dot"); !strings.HasPrefix(dot, "digraph build {") || strings.Count(dot, "->") != 5 {
		t.Errorf("dot\n%s", dot)
	}
	if again := plan(); again != text {
		t.Errorf("a second plan is different:\n%s", again)
	}
	if got := slices.Compact(blobs()); len(got) != 1 {
		t.Errorf("blobs were fetched besides the config: %q", got)
	}
}

func TestPlanOutlineAndTargets(t *testing.T) {
	context := write(t, map[string]string{"Dockerfile": `# build makes it
FROM scratch AS build
# VERSION is what to make
ARG VERSION=1
RUN --mount=type=secret,id=key,required --mount=type=ssh x

FROM scratch AS final
COPY --from=build /out /
`})
	var outline struct {
		Args    []struct{ Name, Value, Description string }
		Secrets []struct {
			Name     string
			Required bool
		}
		SSH []struct{ Name string }
	}
	o := mustSlipway(t, context, "plan", "--outline", "--format", "json", "--build-arg", "VERSION=2", "--target", "build")
	if err := json.Unmarshal([]byte(o.stdout), &outline); err != nil {
		t.Fatal(err)
	}
	if len(outline.Args) != 1 || outline.Args[0].Value != "2" || outline.Args[0].Description != "is what to make" ||
		len(outline.Secrets) != 1 || !outline.Secrets[0].Required || len(outline.SSH) != 1 {
		t.Errorf("outline %s", o.stdout)
	}
	for _, args := range [][]string{{"--outline", "--target", "build"}, {"--targets"}, {"--requests"}} {
		o := mustSlipway(t, context, append([]string{"plan"}, args...)...)
		if want := map[string]string{"--outline": "SECRET   REQUIRED\nkey      true", "--targets": "build           makes it\nfinal (default)", "--requests": "subrequests.describe 1.0.0"}[args[0]]; !strings.Contains(o.stdout, want) {
			t.Errorf("%s gave\n%s\nwant %q in it", args[0], o.stdout, want)
		}
	}
	var targets struct {
		Targets []struct {
			Name    string
			Default bool
		}
	}
	// No registry is asked.
	unreachable := write(t, map[string]string{"Dockerfile": "FROM 127.0.0.1:9/base AS one\nFROM one AS two\n"})
	o = mustSlipway(t, unreachable, "plan", "--targets", "--format=json")
	if err := json.Unmarshal([]byte(o.stdout), &targets); err != nil {
		t.Fatal(err)
	}
	if len(targets.Targets) != 2 || !targets.Targets[1].Default {
		t.Errorf("targets %s", o.stdout)
	}
}

func TestLint(t *testing.T) {
	_, base := registryWithBase(t)
	for name, c := range map[string]struct {
		dockerfile     string
		args           []string
		code           int
		stdout, stderr string
	}{
		"clean":       {"FROM " + base + "\nRUN exit 1\n", nil, 0, "", ""},
		"findings":    {"FROM " + base + " as x\nWORKDIR y\n", nil, 1, ">>> WORKDIR y", "the Dockerfile has 2 check warnings"},
		"URL":         {"FROM " + base + " as x\n", nil, 1, "WARNING: FromAsCasing - https://docs.docker.com/go/dockerfile/rule/from-as-casing/", ""},
		"skipped":     {"# check=skip=FromAsCasing\nFROM " + base + " as x\n", nil, 0, "", ""},
		"by argument": {"FROM " + base + " as x\n", []string{"--build-arg", "BUILDKIT_DOCKERFILE_CHECK=skip=all"}, 0, "", ""},
		"syntax":      {"FROM scratch\nRUM x\n", nil, 1, "", "Dockerfile:2: dockerfile parse error on line 2: unknown instruction: RUM (did you mean RUN?)"},
		"registry":    {"FROM 127.0.0.1:9/base\n", nil, 75, "", "try again later"},
		"format":      {"FROM scratch\n", []string{"--format", "dot"}, 2, "", "not one of text, json"},
	} {
		t.Run(name, func(t *testing.T) {
			context := write(t, map[string]string{"Dockerfile": c.dockerfile})
			o := slipway(t, context, append([]string{"lint"}, c.args...)...)
			if o.code != c.code || !strings.Contains(o.stdout, c.stdout) || !strings.Contains(o.stderr, c.stderr) {
				t.Errorf("exit code %d\n%s\n%s\nwant %d, %q and %q", o.code, o.stdout, o.stderr, c.code, c.stdout, c.stderr)
			}
			if c.code == 0 && o.stdout+o.stderr != "" {
				t.Errorf("nothing was found, but it says %q", o.stdout+o.stderr)
			}
			if c.code == 2 || c.code == 75 { // the same again would wait for the registry again
				return
			}
			check := slipway(t, context, append([]string{"build", "--check"}, c.args...)...)
			if check.code != o.code || check.stdout != o.stdout {
				t.Errorf("build --check differs: exit code %d\n%s", check.code, check.stdout)
			}
		})
	}

	context := write(t, map[string]string{"Dockerfile": "FROM " + base + " as x\n\nMAINTAINER me\n"})
	o := slipway(t, context, "lint", "--format=json")
	var found struct {
		Warnings []struct {
			RuleName, URL string
			Location      struct {
				Ranges []struct{ Start struct{ Line int } }
			}
		}
		Sources []struct{ Filename string }
	}
	if err := json.Unmarshal([]byte(o.stdout), &found); err != nil {
		t.Fatal(err)
	}
	if o.code != 1 || len(found.Warnings) != 2 || found.Warnings[1].RuleName != "MaintainerDeprecated" || found.Warnings[1].URL == "" ||
		found.Warnings[1].Location.Ranges[0].Start.Line != 3 || len(found.Sources) != 1 || found.Sources[0].Filename != "Dockerfile" {
		t.Errorf("exit code %d, %+v", o.code, found)
	}
}
