package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/build"
)

func attestFlags() []cli.Flag {
	const category = "Attestations"
	return []cli.Flag{
		&cli.StringSliceFlag{Category: category, Name: "attest", Usage: "`type=TYPE[,KEY=VALUE…]` to attach to the image: sbom or provenance"},
		&cli.StringFlag{Category: category, Name: "sbom", Usage: "`true`, or attributes, for --attest type=sbom"},
		&cli.StringFlag{Category: category, Name: "provenance", Usage: "`true`, or attributes, for --attest type=provenance"},
		&cli.StringFlag{Category: category, Name: "attest-storage", Usage: "where attestations go: index (default), cosign, which signs them, or both"},
		&cli.StringFlag{Category: category, Name: "vcs-source", EnvVars: []string{"SLIPWAY_VCS_SOURCE"}, Usage: "`URL` of the repository that a context in a directory is of, for the provenance"},
		&cli.StringFlag{Category: category, Name: "vcs-revision", EnvVars: []string{"SLIPWAY_VCS_REVISION"}, Usage: "`COMMIT` that a context in a directory is of, for the provenance"},
		&cli.StringFlag{Category: category, Name: "provenance-env-dir", EnvVars: []string{"SLIPWAY_PROVENANCE_ENV_DIR"}, Usage: "`DIR` with JSON files of further facts about where the build runs, for the provenance"},
	}
}

func attestOptions(c *cli.Context, environ []string) build.AttestOptions {
	o := build.AttestOptions{
		Kinds: c.StringSlice("attest"), SBOM: c.String("sbom"), Provenance: c.String("provenance"),
		Storage:   c.String("attest-storage"),
		VCSSource: c.String("vcs-source"), VCSRevision: c.String("vcs-revision"),
		EnvDir: c.String("provenance-env-dir"),
	}
	o.Run, o.InvocationID = runIdentity(environ)
	return o
}

// runPrefix begins the environment variables by which Tekton, Argo and others say who asks for the build.
const runPrefix = "SLIPWAY_RUN_"

// runIdentity is what the environment says of who asks for the build: SLIPWAY_RUN_TASK_RUN is "taskRun". SLIPWAY_RUN_UID is also what
// identifies the build.
func runIdentity(environ []string) (run map[string]string, id string) {
	run = map[string]string{}
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		name, ok := strings.CutPrefix(name, runPrefix)
		if !ok || value == "" {
			continue
		}
		words := strings.Split(strings.ToLower(name), "_")
		for i, w := range words[1:] {
			if w != "" {
				words[i+1] = strings.ToUpper(w[:1]) + w[1:]
			}
		}
		run[strings.Join(words, "")] = value
	}
	return run, run["uid"]
}
