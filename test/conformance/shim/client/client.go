// Package client stands in for BuildKit's client: its types are BuildKit's, and its Solve runs the
// slipway binary.
package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	real "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	dockerfileversion "github.com/moby/buildkit/frontend/dockerfile/version"
	"github.com/moby/buildkit/session"
	"google.golang.org/grpc"
)

// Environment variables by which the client is told what to run.
const (
	BinaryEnv    = "SLIPWAY_BINARY"
	IsolationEnv = "SLIPWAY_ISOLATION"
	// RootfsEnv is the root filesystem of slipway's image, if each call of slipway is to have a container.
	RootfsEnv = "CONFORMANCE_ROOTFS"
)

// BuildKit's types and names.
type (
	SolveOpt          = real.SolveOpt
	ExportEntry       = real.ExportEntry
	CacheOptionsEntry = real.CacheOptionsEntry
	SolveStatus       = real.SolveStatus
	SolveResponse     = real.SolveResponse
	Vertex            = real.Vertex
	VertexStatus      = real.VertexStatus
	VertexLog         = real.VertexLog
	VertexWarning     = real.VertexWarning
	UsageInfo         = real.UsageInfo
	PruneOption       = real.PruneOption
	DiskUsageOption   = real.DiskUsageOption
	ListWorkersOption = real.ListWorkersOption
	WorkerInfo        = real.WorkerInfo
	Info              = real.Info
	ClientOpt         = real.ClientOpt
)

// Kinds of outputs.
const (
	ExporterImage  = real.ExporterImage
	ExporterLocal  = real.ExporterLocal
	ExporterTar    = real.ExporterTar
	ExporterOCI    = real.ExporterOCI
	ExporterDocker = real.ExporterDocker
)

// PruneAll is BuildKit's option.
var PruneAll = real.PruneAll

// errNoDaemon answers whatever only a daemon can do.
var errNoDaemon = errors.New("slipway is not a daemon")

// Client builds in one sandbox.
type Client struct {
	dir      string
	sessions *session.Manager
}

// New gives a client of the sandbox at address, which is a directory.
func New(_ context.Context, address string, _ ...ClientOpt) (*Client, error) {
	info, err := os.Stat(address)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not the directory of a sandbox", address)
	}
	sessions, err := session.NewManager()
	if err != nil {
		return nil, err
	}
	return &Client{dir: address, sessions: sessions}, nil
}

// Close does nothing; what builds leave is removed with the sandbox.
func (c *Client) Close() error { return nil }

func (c *Client) stateDir() string { return filepath.Join(c.dir, "state") }

// Solve builds a Dockerfile, or a graph of the client's own. Like BuildKit's, it closes status, if there is one, at the end.
func (c *Client) Solve(ctx context.Context, def *llb.Definition, opt SolveOpt, status chan *SolveStatus) (*SolveResponse, error) {
	if status != nil {
		defer close(status)
	}
	graphs := graphs{}
	if def != nil {
		graphs.definition = def.ToPB()
	}
	for name, state := range opt.FrontendInputs {
		input, err := state.Marshal(ctx)
		if err != nil {
			return nil, err
		}
		graphs.add(name, input.ToPB())
	}
	return c.build(ctx, graphs, opt, status)
}

// ListWorkers gives the one there is.
func (c *Client) ListWorkers(context.Context, ...ListWorkersOption) ([]*WorkerInfo, error) {
	return []*WorkerInfo{{ID: "slipway"}}, nil
}

// Info gives the version of the frontend, which is BuildKit's own.
func (c *Client) Info(context.Context) (*Info, error) {
	info := &Info{}
	info.BuildkitVersion.DockerfileVersion = dockerfileversion.Version()
	return info, nil
}

// ContentClient gives a client whose calls fail, as there is no daemon.
func (c *Client) ContentClient() contentapi.ContentClient {
	return contentapi.NewContentClient(noDaemon{})
}

// noDaemon is a connection to nobody.
type noDaemon struct{}

func (noDaemon) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return errNoDaemon
}

func (noDaemon) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errNoDaemon
}
