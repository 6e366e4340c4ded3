package frontend

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/op"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The graphs of Dockerfiles that together use every instruction and flag which shows in the graph,
// and the image configs that they give.
func TestGolden(t *testing.T) {
	looksUpImagesAtOnce(t)
	paths, err := filepath.Glob("testdata/golden/*.Dockerfile")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	layout := "lay@" + digest.FromString("layout").String()
	adjust := map[string]func(*project){
		"run": func(p *project) {
			p.opts.BuildArgs = map[string]string{"HTTP_PROXY": "http://proxy:3128", "no_proxy": "localhost"}
			p.opts.NoCacheStages = []string{"tools"}
			p.opts.BuildPlatform = amd64
			p.opts.Platforms = []op.Platform{{OS: "linux", Architecture: "arm64"}}
		},
		"copy": func(p *project) {
			p.solver.locals["context"] = files{".dockerignore": "secret\n"}
		},
		"metadata": func(p *project) {
			p.opts.Labels = map[string]string{"from": "options"}
		},
		"contexts": func(p *project) {
			p.solver.locals["library"] = files{".dockerignore": "*.o\n"}
			p.opts.Contexts = map[string]string{
				"base":                                  "docker-image://debian:12",
				"lib":                                   "local:library",
				"layout":                                "oci-layout://" + layout,
				"docker.io/library/alpine:latest":       "docker-image://other:1",
				"docker.io/library/unused::linux/s390x": "docker-image://scratch",
			}
		},
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".Dockerfile")
		t.Run(name, func(t *testing.T) {
			dockerfile, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			p := newProject(string(dockerfile))
			adjust[name](p)
			r := p.mustBuild(t).Platforms[0]
			got := dump(r.Root) + "config " + indentConfig(t, r.Config)

			golden := strings.TrimSuffix(path, ".Dockerfile") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("graph differs from %s (write it with -update):\n%s", golden, firstDifference(got, string(want)))
			}
		})
	}
}

func indentConfig(t *testing.T, config []byte) string {
	t.Helper()
	var img struct {
		ocispecs.Image
		Config map[string]any `json:"config"`
	}
	if err := json.Unmarshal(config, &img); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(img, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + "\n"
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			line := "(end)"
			if i < len(w) {
				line = w[i]
			}
			return "got  " + g[i] + "\nwant " + line
		}
	}
	return "the golden file has more lines"
}
