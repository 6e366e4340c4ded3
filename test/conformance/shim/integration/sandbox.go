package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/shlex"
	"github.com/stretchr/testify/require"

	"github.com/slipway-build/slipway/internal/testbase"
)

// BuildctlEnv names the environment variable with the path of the program that takes buildctl's place.
const BuildctlEnv = "CONFORMANCE_BUILDCTL"

// ConfigFile is what a daemon's configuration is called in a sandbox, where a matrix has one.
const ConfigFile = "buildkitd.toml"

// Sandbox is what BuildKit's tests know of their backend.
type Sandbox interface {
	// Address is the directory of this sandbox, from which the shim's client makes slipway's state directory.
	Address() string
	DockerAddress() string
	ContainerdAddress() string
	DebugAddress() string
	Rootless() bool
	NetNSDetached() bool
	Snapshotter() string
	ExtraEnv() []string
	Supports(feature string) bool
	Context() context.Context
	Cmd(...string) *exec.Cmd
	PrintLogs(*testing.T)
	ClearLogs()
	NewRegistry() (string, error)
	Value(string) any
	Name() string
	CDISpecDir() string
}

type sandbox struct {
	t      *testing.T
	dir    string
	values choice
}

func newSandbox(t *testing.T, values choice) *sandbox {
	dir, err := os.MkdirTemp("", "conformance-sandbox-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Mkdir(filepath.Join(dir, "cdi"), 0o755))
	for _, v := range values {
		if updater, ok := v.value.(ConfigUpdater); ok {
			text, _ := updater.UpdateConfigFile("")
			require.NoError(t, os.WriteFile(filepath.Join(dir, ConfigFile), []byte(text), 0o644))
		}
	}
	return &sandbox{t: t, dir: dir, values: values}
}

func (s *sandbox) Address() string         { return s.dir }
func (*sandbox) DockerAddress() string     { return "" }
func (*sandbox) ContainerdAddress() string { return "mirror" } // see package containerd of the shim
func (*sandbox) DebugAddress() string      { return "" }
func (*sandbox) Rootless() bool            { return false }
func (*sandbox) NetNSDetached() bool       { return false }
func (*sandbox) Snapshotter() string       { return "overlayfs" }
func (*sandbox) ExtraEnv() []string        { return nil }
func (*sandbox) Supports(string) bool      { return true }
func (*sandbox) PrintLogs(*testing.T)      {}
func (*sandbox) ClearLogs()                {}
func (*sandbox) Name() string              { return "slipway" }

func (s *sandbox) Context() context.Context { return s.t.Context() }
func (s *sandbox) Value(key string) any     { return s.values[key].value }

// Cmd is a call of buildctl; one argument is taken as a shell's line.
func (s *sandbox) Cmd(args ...string) *exec.Cmd {
	if len(args) == 1 {
		if split, err := shlex.Split(args[0]); err == nil {
			args = split
		}
	}
	cmd := exec.CommandContext(s.t.Context(), os.Getenv(BuildctlEnv), args...)
	cmd.Env = append(os.Environ(), "BUILDKIT_HOST="+s.Address())
	return cmd
}

// NewRegistry starts a registry that runs until the test ends, and gives its host.
func (s *sandbox) NewRegistry() (string, error) {
	r, err := testbase.Serve()
	if err != nil {
		return "", err
	}
	s.t.Cleanup(func() { require.NoError(s.t, r.Close()) })
	// BuildKit's tests speak plain HTTP to a registry only if it is called so.
	return strings.Replace(r.Host, "127.0.0.1", "localhost", 1), nil
}

func (s *sandbox) CDISpecDir() string { return filepath.Join(s.dir, "cdi") }
