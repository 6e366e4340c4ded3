package workload

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// head declares what each Dockerfile here is given.
const head = "ARG REGISTRY\n"

// All are the workloads, in the order of the report.
func All() []Workload {
	return []Workload{
		manySteps(), manyFiles(), bigCopy(), goApp(), copyOnly(), cached(), nodeApp(), apt(), parallelStages(), oneLineChange(), bigLayer(),
	}
}

func manySteps() Workload {
	var d strings.Builder
	d.WriteString(head + "FROM $REGISTRY/golang:base\n")
	for i := range 10 {
		fmt.Fprintf(&d, "RUN echo %d >/step-%d\n", i, i)
	}
	return Workload{Name: "many-steps", About: "ten small RUNs on a base of 450 MB", Dockerfile: d.String(), Want: []string{"step-0", "step-9"}}
}

func manyFiles() Workload {
	return Workload{
		Name: "many-files", About: "one RUN makes 100,000 files, one touches one, one deletes 1,000", Want: []string{"data/0/0", "data/99/999", "data/.wh.7"},
		Dockerfile: head + `FROM $REGISTRY/debian:base
RUN ` + perlFiles("/data", 100, 1000) + `
RUN echo changed >/data/5/5
RUN rm -r /data/7
`,
	}
}

// perlFiles is a command that makes dirs directories with files files each.
func perlFiles(dir string, dirs, files int) string {
	return fmt.Sprintf(`mkdir -p %[1]s && perl -e 'for my $d (0 .. %[2]d) { mkdir "%[1]s/$d"; for my $f (0 .. %[3]d) { open my $h, ">", "%[1]s/$d/$f"; print $h "$d $f\n"; close $h } }'`,
		dir, dirs-1, files-1)
}

func bigCopy() Workload {
	return Workload{
		Name: "big-copy", About: "COPY of 20,000 files, 512 MB", Want: []string{"src/d000/e0/f00", "src/d019/e9/f99"},
		Dockerfile: head + "FROM $REGISTRY/debian:base\nCOPY src /src\n",
		Context: func(_ context.Context, dir string) error {
			return newWords(1).write(filepath.Join(dir, "src"), 20_000, 512<<20)
		},
	}
}

func goApp() Workload {
	return Workload{
		Name: "go-app", About: "a Go program compiled in one stage, alone in the next", Want: []string{"app"},
		Dockerfile: head + `FROM $REGISTRY/golang:base AS build
WORKDIR /src
COPY go.mod main.go ./
RUN GOTOOLCHAIN=local CGO_ENABLED=0 go build -o /app .
FROM scratch
COPY --from=build /app /app
ENTRYPOINT ["/app"]
`,
		Context: func(_ context.Context, dir string) error {
			return writeAll(dir, map[string]string{
				"go.mod":  "module example.com/app\n\ngo 1.24\n",
				"main.go": "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"hello\\n\") }\n",
			})
		},
	}
}

func copyOnly() Workload {
	return Workload{
		Name: "copy-only", About: "COPY --from of one file of 12 MB onto a base, no RUN", Want: []string{"usr/local/bin/tool"},
		Dockerfile: head + `FROM $REGISTRY/golang:base AS tools
FROM $REGISTRY/debian:base
COPY --from=tools /usr/local/go/bin/go /usr/local/bin/tool
`,
	}
}

func cached() Workload {
	w := oneLineChange()
	w.Name, w.About, w.Change = "cached", "the same, with nothing changed", nil
	return w
}

// oneLineChange is a project whose dependencies stay.
func oneLineChange() Workload {
	return Workload{
		Name: "one-line-change", About: "a cache in the registry, and the last file of the source changed", Cached: true, Want: []string{"built/19/499", "src/src/d000/e0/f99", "built/sum"},
		Dockerfile: head + `FROM $REGISTRY/golang:base
WORKDIR /src
COPY deps deps
RUN ` + perlFiles("/built", 20, 500) + `
COPY src src
RUN cat src/d000/e0/* | sha256sum >/built/sum
`,
		Context: func(_ context.Context, dir string) error {
			if err := newWords(2).write(filepath.Join(dir, "deps"), 2000, 64<<20); err != nil {
				return err
			}
			return newWords(3).write(filepath.Join(dir, "src"), 500, 4<<20)
		},
		Change: func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "src/d000/e0/f99"), []byte("changed\n"), 0o644)
		},
	}
}

func nodeApp() Workload {
	return Workload{
		Name: "node-app", About: "npm ci in one stage, its modules in the next", Want: []string{"app/node_modules/typescript/package.json"},
		Dockerfile: head + `FROM $REGISTRY/node:base AS build
ARG MIRROR
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --no-audit --no-fund --no-update-notifier --registry=http://$MIRROR/npm/
COPY main.js ./
FROM $REGISTRY/node:base
COPY --from=build /app /app
CMD ["node", "/app/main.js"]
`,
		Context: func(ctx context.Context, dir string) error {
			err := writeAll(dir, map[string]string{
				"package.json": `{"name": "app", "version": "1.0.0", "dependencies": {"express": "4.21.2", "lodash": "4.17.21", "typescript": "5.4.5"}}` + "\n",
				"main.js":      "console.log(require('lodash').VERSION)\n",
			})
			if err != nil {
				return err
			}
			cmd := exec.CommandContext(ctx, "npm", "install", "--package-lock-only", "--no-audit", "--no-fund")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("npm install: %w\n%s", err, out)
			}
			return nil
		},
	}
}

func apt() Workload {
	return Workload{
		Name: "apt", About: "apt-get install of a C compiler", Want: []string{"usr/bin/gcc-12"},
		Dockerfile: head + `FROM $REGISTRY/debian:base
ARG MIRROR
RUN echo "deb [trusted=yes] http://$MIRROR/debian bookworm main" >/etc/apt/sources.list && \
    apt-get -o APT::Sandbox::User=root update && apt-get -o APT::Sandbox::User=root install -y --no-install-recommends gcc libc6-dev
`,
	}
}

func parallelStages() Workload {
	var d strings.Builder
	d.WriteString(head)
	for i := range 4 {
		fmt.Fprintf(&d, "FROM $REGISTRY/debian:base AS stage%d\nRUN %s\nRUN perl -e 'my $x = %d; for my $i (1 .. 15_000_000) { $x = ($x * 16807) %% 2147483647 } print $x' >/out/sum\n",
			i, perlFiles("/out", 5, 400), i+1)
	}
	d.WriteString("FROM scratch\n")
	for i := range 4 {
		fmt.Fprintf(&d, "COPY --from=stage%d /out /out%d\n", i, i)
	}
	return Workload{Name: "parallel-stages", About: "four independent stages that compute and make files", Dockerfile: d.String(), Want: []string{"out0/4/399", "out3/sum"}}
}

func bigLayer() Workload {
	return Workload{
		Name: "big-layer", About: "a RUN that writes a file of 2 GB", Want: []string{"big"},
		Dockerfile: head + "FROM $REGISTRY/debian:base\nRUN head -c 2000000000 /dev/urandom >/big\n",
	}
}

func writeAll(dir string, files map[string]string) error {
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
