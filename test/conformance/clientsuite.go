package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

// clientFiles are the tests of BuildKit's client that send graphs in LLB about files, mounts, processes, merges and
// sources, with the functions that they share. The other tests are about a daemon, its cache, outputs and gateway.
func clientFiles() []string {
	return []string{
		"client_exec_test.go", "client_fileop_test.go", "client_git_source_test.go", "client_http_source_test.go",
		"client_local_source_test.go", "client_mergeop_test.go", "client_mount_test.go", "client_utils_test.go",
	}
}

// clientPrefix is before the names of these tests, of which the Dockerfile frontend's have some too.
const clientPrefix = "client."

// clientNames takes the place of the package that these tests are part of.
const clientNames = `package client

import (
	"testing"

	"github.com/moby/buildkit/util/testutil/integration"
	shim "github.com/moby/buildkit/client"
	"github.com/stretchr/testify/require"
)

type (
	Client            = shim.Client
	SolveOpt          = shim.SolveOpt
	ExportEntry       = shim.ExportEntry
	CacheOptionsEntry = shim.CacheOptionsEntry
	SolveStatus       = shim.SolveStatus
	SolveResponse     = shim.SolveResponse
	Vertex            = shim.Vertex
	VertexStatus      = shim.VertexStatus
	VertexLog         = shim.VertexLog
	VertexWarning     = shim.VertexWarning
	UsageInfo         = shim.UsageInfo
)

const (
	ExporterImage  = shim.ExporterImage
	ExporterLocal  = shim.ExporterLocal
	ExporterTar    = shim.ExporterTar
	ExporterOCI    = shim.ExporterOCI
	ExporterDocker = shim.ExporterDocker
)

var (
	New      = shim.New
	PruneAll = shim.PruneAll
)

// resetState leaves nothing of builds before.
func resetState(t *testing.T, c *Client, sb integration.Sandbox) {
	require.NoError(t, c.Prune(sb.Context(), nil, PruneAll))
}

func TestIntegration(t *testing.T) {
	integration.Run(t, integration.TestFuncs(
%s	), integration.WithPrefix(%q))
}
`

// generateClient writes the tests of BuildKit's client into dir, which must not exist.
func generateClient(ctx context.Context, dir string) error {
	source, err := moduleDir(ctx, buildkit)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var list bytes.Buffer
	for _, name := range clientFiles() {
		content, err := os.ReadFile(filepath.Join(source, "client", name))
		if err != nil {
			return err
		}
		for _, m := range testFunction().FindAllSubmatch(content, -1) {
			fmt.Fprintf(&list, "\t\t%s,\n", m[1])
		}
		if err := os.WriteFile(filepath.Join(dir, name), withShims(content), 0o644); err != nil {
			return err
		}
	}
	if list.Len() == 0 {
		return fmt.Errorf("%s has no tests of the client", source)
	}
	names := fmt.Appendf(nil, clientNames, list.String(), clientPrefix)
	return os.WriteFile(filepath.Join(dir, "names_test.go"), withShims(names), 0o644)
}

// testFunction finds the names of tests that take a sandbox.
func testFunction() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^func (test\w+)\(t \*testing\.T, sb integration\.Sandbox\) \{`)
}
