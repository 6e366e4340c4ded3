package client

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/slipway-build/slipway/test/conformance/shim/hub"
)

// LLBEnv names the environment variable with the path of the program that builds from LLB.
const LLBEnv = "CONFORMANCE_LLB"

// definition is what that program calls the graph to build.
const definition = "definition"

// graphs are what a client sends in LLB: a definition to build, if it is not nil, and inputs of a Dockerfile.
type graphs struct {
	definition *pb.Definition
	inputs     map[string]*pb.Definition
}

func (g *graphs) add(name string, input *pb.Definition) {
	if g.inputs == nil {
		g.inputs = map[string]*pb.Definition{}
	}
	g.inputs[name] = input
}

// translateGraphs gives slipway's part for LLB what there is of that.
func (i *invocation) translateGraphs(ctx context.Context, g graphs) error {
	if g.definition == nil && len(g.inputs) == 0 {
		return nil
	}
	i.program = os.Getenv(LLBEnv)
	for name, input := range g.inputs {
		if err := i.addInput(ctx, name, input); err != nil {
			return err
		}
	}
	if g.definition != nil {
		if err := i.addDefinition(ctx, g.definition); err != nil {
			return err
		}
	}
	return i.addLocals(ctx)
}

// addDefinition makes this a build of a client's graph. One without operations is an empty root filesystem.
func (i *invocation) addDefinition(ctx context.Context, def *pb.Definition) error {
	if len(def.Def) == 0 {
		empty := filepath.Join(i.dir, "Dockerfile.scratch")
		i.flag("file", empty)
		return os.WriteFile(empty, []byte("FROM scratch\n"), 0o644)
	}
	return i.addInput(ctx, definition, def)
}

// addInput gives a graph to the build.
func (i *invocation) addInput(ctx context.Context, input string, def *pb.Definition) error {
	if def == nil {
		i.flag("input", input+"=")
		return nil
	}
	pinned, err := pin(ctx, def)
	if err != nil {
		return err
	}
	data, err := pinned.Marshal()
	if err != nil {
		return err
	}
	path := filepath.Join(i.dir, "input-"+input)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return err
	}
	i.flag("input", input+"="+path)
	return nil
}

// addLocals gives all directories to the build, by their names.
func (i *invocation) addLocals(ctx context.Context) error {
	for name := range i.opt.LocalMounts {
		if name == localContext || name == localDockerfile {
			continue
		}
		dir, err := i.local(ctx, name)
		if err != nil {
			return err
		}
		i.flag("local", strings.ToLower(name)+"="+dir)
	}
	return nil
}

// pin gives the images of a graph their digests, which in BuildKit a daemon's worker does, and in slipway the
// frontend.
func pin(ctx context.Context, def *pb.Definition) (*pb.Definition, error) {
	out := &pb.Definition{Metadata: map[string]*pb.OpMetadata{}, Source: def.Source.CloneVT()}
	renamed := map[string]string{}
	for _, raw := range def.Def {
		var o pb.Op
		if err := o.UnmarshalVT(raw); err != nil {
			return nil, err
		}
		for _, input := range o.Inputs {
			input.Digest = renamed[input.Digest]
		}
		if source := o.GetSource(); source != nil {
			if err := pinSource(ctx, source, o.Platform); err != nil {
				return nil, err
			}
		}
		data, err := o.MarshalVT()
		if err != nil {
			return nil, err
		}
		before, after := digest.FromBytes(raw).String(), digest.FromBytes(data).String()
		renamed[before] = after
		out.Def = append(out.Def, data)
		if meta := def.Metadata[before]; meta != nil {
			out.Metadata[after] = meta
		}
	}
	if out.Source != nil {
		for before, after := range renamed {
			if locations := out.Source.Locations[before]; locations != nil && before != after {
				out.Source.Locations[after] = locations
				delete(out.Source.Locations, before)
			}
		}
	}
	return out, nil
}

func pinSource(ctx context.Context, source *pb.SourceOp, platform *pb.Platform) error {
	if strings.HasPrefix(source.Identifier, "local://") {
		// Slipway's names of directories are those of contexts.
		source.Identifier = strings.ToLower(source.Identifier)
	}
	image, ok := strings.CutPrefix(source.Identifier, "docker-image://")
	if !ok || strings.Contains(image, "@") {
		return nil
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		return err
	}
	transport, err := hub.Transport()
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	options := []remote.Option{remote.WithContext(ctx), remote.WithTransport(transport)}
	if platform != nil {
		options = append(options, remote.WithPlatform(v1.Platform{OS: platform.OS, Architecture: platform.Architecture, Variant: platform.Variant}))
	}
	found, err := remote.Head(ref, options...)
	if err != nil {
		return fmt.Errorf("failed to resolve source metadata for %s: %w", image, err)
	}
	source.Identifier += "@" + found.Digest.String()
	return nil
}
