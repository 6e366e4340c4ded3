package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-build/slipway/test/conformance/shim/integration"
	"github.com/slipway-build/slipway/test/conformance/shim/uploadprovider"
)

// Names that BuildKit's frontend gives to directories of its client.
const (
	localContext    = "context"
	localDockerfile = "dockerfile"
)

// invocation is a call of slipway that does what options of BuildKit's client say.
type invocation struct {
	program  string // slipway, or that for LLB
	dir      string // for files, in that of the sandbox; removed afterwards
	cacheDir string // of the sandbox
	opt      SolveOpt

	flags []string
	args  []string
	stdin io.ReadCloser
	// dockerfileDir is where the Dockerfile is, "" if it is in a remote context.
	dockerfileDir string
	outputs       []pending
}

func (i *invocation) flag(name, value string) { i.flags = append(i.flags, "--"+name+"="+value) }

// unsupported is the error for what no flag of slipway says.
func unsupported(what string) error { return fmt.Errorf("slipway has no flag for %s", what) }

// translate turns the options into flags, arguments and files.
func (i *invocation) translate(ctx context.Context, g graphs) error {
	if err := i.translateEntitlements(); err != nil {
		return err
	}
	i.translateCaches()
	for _, step := range []func() error{
		func() error { return i.translateContext(ctx) },
		func() error { return i.translateAttributes(ctx) },
		func() error { return i.translatePolicy(ctx) },
		i.translateSession,
		i.translateExports,
		func() error { return i.translateGraphs(ctx, g) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// translateEntitlements allows what the client allows, unless the sandbox is of a daemon that does not: who
// runs slipway is both.
func (i *invocation) translateEntitlements() error {
	config, err := os.ReadFile(filepath.Join(filepath.Dir(i.dir), integration.ConfigFile))
	configured := err == nil
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, allowed := range i.opt.AllowedEntitlements {
		if !configured || strings.Contains(string(config), strconv.Quote(allowed)) {
			i.flag("allow", allowed)
		}
	}
	return nil
}

// translateContext finds the main context and the Dockerfile.
func (i *invocation) translateContext(ctx context.Context) error {
	attrs := i.opt.FrontendAttrs
	where, remote := attrs["context"]
	if remote {
		if stream, ok := i.upload(where); ok {
			where, i.stdin = "-", stream
		}
	} else if i.opt.LocalMounts[localContext] != nil {
		var err error
		if where, err = i.local(ctx, localContext); err != nil {
			return err
		}
	} else {
		where = filepath.Join(i.dir, "empty")
		if err := os.Mkdir(where, 0o755); err != nil {
			return err
		}
	}
	i.args = []string{where}

	filename, named := attrs["filename"]
	name, apart := attrs["dockerfilekey"]
	if !apart {
		name = localDockerfile
	}
	// A remote context has its own Dockerfile unless the client names another place.
	if i.opt.LocalMounts[name] == nil || remote && !apart {
		if !remote {
			i.dockerfileDir = where
		}
		if named {
			i.flag("file", filename)
		}
		return nil
	}
	dir, err := i.local(ctx, name)
	if err != nil {
		return err
	}
	i.dockerfileDir = dir
	switch {
	case named:
		i.flag("file", filepath.Join(dir, filename))
	case dir != where:
		i.flag("file", filepath.Join(dir, "Dockerfile"))
	}
	return nil
}

// upload gives the stream that a session's uploader has for an URL.
func (i *invocation) upload(url string) (io.ReadCloser, bool) {
	for _, s := range i.opt.Session {
		if u, ok := s.(*uploadprovider.Uploader); ok {
			return u.Take(url)
		}
	}
	return nil, false
}

// translateAttributes translates what the client says to the frontend.
func (i *invocation) translateAttributes(ctx context.Context) error {
	for _, key := range slices.Sorted(maps.Keys(i.opt.FrontendAttrs)) {
		if err := i.translateAttribute(ctx, key, i.opt.FrontendAttrs[key]); err != nil {
			return err
		}
	}
	return nil
}

func (i *invocation) translateAttribute(ctx context.Context, key, value string) error {
	plain := map[string]string{
		"target": "target", "platform": "platform", "contextsubdir": "context-sub-path", "force-network-mode": "network",
		"shm-size": "shm-size", "cgroup-parent": "cgroup-parent", "source-date-epoch": "source-date-epoch",
	}
	lists := map[string]string{"add-hosts": "add-host", "ulimit": "ulimit"}
	kind, name, _ := strings.Cut(key, ":")
	switch {
	case key == "context" || key == "filename" || key == "dockerfilekey" || key == "frontend.caps" || key == "cache-from":
	case (key == "source" || key == "cmdline") && value == "dockerfile.v0": // what the gateway calls the frontend
	case key == "hostname": // for which a user of "docker build" has only this argument; it goes before
		const argument = "BUILDKIT_SANDBOX_HOSTNAME"
		if _, ok := i.opt.FrontendAttrs["build-arg:"+argument]; !ok {
			i.flag("build-arg", argument+"="+value)
		}
	case plain[key] != "":
		i.flag(plain[key], value)
	case lists[key] != "":
		for one := range strings.SplitSeq(value, ",") {
			i.flag(lists[key], one)
		}
	case key == "no-cache" && value == "":
		i.flags = append(i.flags, "--no-cache")
	case key == "no-cache":
		i.flag("no-cache-filter", value)
	case key == "image-resolve-mode":
		if value == "pull" {
			i.flags = append(i.flags, "--pull")
		}
	case kind == "build-arg" || kind == "label":
		i.flag(kind, name+"="+value)
	case kind == "context":
		return i.translateNamedContext(ctx, name, value)
	case kind == "attest":
		return i.translateAttestation(name, value)
	case kind == "vcs":
		i.flag("vcs-"+name, value)
	default:
		return unsupported(fmt.Sprintf("the frontend's option %s=%s", key, value))
	}
	return nil
}

// translateAttestation asks for an attestation. BuildKit's daemon has no name of its own for the builder, and the one that the tests start is
// told some facts of its environment.
func (i *invocation) translateAttestation(kind, value string) error {
	attrs := "type=" + kind
	if value != "" {
		attrs += "," + value
	}
	if kind == "provenance" {
		if !strings.Contains(value, "builder-id=") {
			attrs += ",builder-id="
		}
		dir := filepath.Join(i.dir, "provenance.d")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "facts.json"), []byte(`{"foo": "bar", "numbers": [1, 2, 3]}`), 0o644); err != nil {
			return err
		}
		i.flag("provenance-env-dir", dir)
	}
	i.flag("attest", attrs)
	return nil
}

func (i *invocation) translateNamedContext(ctx context.Context, name, value string) error {
	kind, rest, _ := strings.Cut(value, ":")
	switch kind {
	case "local":
		dir, err := i.local(ctx, rest)
		if err != nil {
			return err
		}
		value = dir
	case "oci-layout":
		dir, err := i.layout(ctx, strings.TrimPrefix(rest, "//"))
		if err != nil {
			return err
		}
		value = "oci-layout://" + dir
	case "docker-image":
		value = "docker-image://" + strings.TrimPrefix(rest, "//")
	case "input":
		return unsupported("a client's LLB as context")
	}
	i.flag("build-context", name+"="+value)
	return nil
}

// translatePolicy writes the source policy to a file. It can put any directory of the client in the place of
// another source.
func (i *invocation) translatePolicy(ctx context.Context) error {
	if i.opt.SourcePolicy == nil {
		return nil
	}
	data, err := json.Marshal(i.opt.SourcePolicy)
	if err != nil {
		return err
	}
	file := filepath.Join(i.dir, "policy.json")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		return err
	}
	i.flag("source-policy-file", file)
	for _, name := range slices.Sorted(maps.Keys(i.opt.LocalMounts)) {
		if name == localContext || name == localDockerfile {
			continue
		}
		dir, err := i.local(ctx, name)
		if err != nil {
			return err
		}
		i.flag("build-context", name+"="+dir)
	}
	return nil
}

// translateSession translates secrets and ssh agents.
func (i *invocation) translateSession() error {
	for _, s := range i.opt.Session {
		if err := i.translateAttachable(s); err != nil {
			return err
		}
	}
	return nil
}

// deliver hands over what slipway wrote to files for outputs that are streams.
func (i *invocation) deliver(response map[string]string) error {
	var err error
	for _, p := range i.outputs {
		err = errors.Join(err, p.deliver(response))
	}
	return err
}
