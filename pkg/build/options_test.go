package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/results"
)

func TestContextSubPath(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"context/sub/deep", "outside"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"context/inside": "sub", "context/up": "../outside", "context/absolute": "/etc", "context/self": "sub/../sub",
	} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "context/file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for sub, want := range map[string]string{
		"": "context", ".": "context", "/": "context", "sub": "context/sub", "/sub/": "context/sub", "./sub/deep": "context/sub/deep",
		"inside": "context/sub", "inside/deep": "context/sub/deep", "self": "context/sub",
		"..": "", "sub/../..": "", "../outside": "", "up": "", "absolute": "", "file": "", "missing": "",
	} {
		o := Options{Context: filepath.Join(root, "context"), ContextSubPath: sub}
		err := o.checkContext()
		if (err != nil) != (want == "") || err == nil && o.Context != filepath.Join(root, want) {
			t.Errorf("%q: got %s, %v; want %q", sub, o.Context, err, want)
		}
	}
}

// The workspace's Dockerfile comes before that of the directory in it which is built.
func TestDockerfileInContext(t *testing.T) {
	root := t.TempDir()
	for path, exists := range map[string]bool{"Dockerfile": true, "sub/Dockerfile": true, "sub/other": true} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), nil, 0o600); exists && err != nil {
			t.Fatal(err)
		}
	}
	o := Options{Context: root, ContextSubPath: "sub"}
	if err := o.checkContext(); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"./Dockerfile": ".", "sub/Dockerfile": "sub", "other": "sub", "": "sub", "missing": "error"} {
		o.Dockerfile = file
		dir, _, err := o.dockerfile(nil)
		if (err != nil) != (want == "error") || err == nil && dir != filepath.Join(o.wholeContext, want) {
			t.Errorf("%q: found in %s, %v; want %s", file, dir, err, want)
		}
	}
}

// Docker's media types are written with gzip, whatever the command line says of zstd; the user hears of it.
func TestCompressionOfFormats(t *testing.T) {
	level := 19
	for _, tt := range []struct {
		format, algorithm string
		level             *int
		want              compression.Options
		notices           int
	}{
		{"oci", "zstd", &level, compression.Options{Algorithm: compression.Zstd, Level: level}, 0},
		{"docker", "zstd", &level, compression.Options{}, 1},
		{"docker", "zstd", nil, compression.Options{}, 1},
		{"docker", "none", nil, compression.Options{Algorithm: compression.None}, 0},
		{"docker", "gzip", nil, compression.Options{}, 0},
	} {
		p, err := newPlan(&Options{ImageFormat: tt.format, Compression: tt.algorithm, CompressionLevel: tt.level})
		if err != nil {
			t.Errorf("%s with %s: %v", tt.format, tt.algorithm, err)
			continue
		}
		if p.image.Compression != tt.want || len(p.notices) != tt.notices {
			t.Errorf("%s with %s: %+v with notices %q", tt.format, tt.algorithm, p.image.Compression, p.notices)
		}
	}
}

// Who asks for BuildKit's cache inside the image is told that there is none.
func TestInlineCache(t *testing.T) {
	for value, warned := range map[string]bool{"1": true, "true": true, "0": false, "": false, "maybe": false} {
		var log bytes.Buffer
		_, err := Run(t.Context(), Options{
			Context: t.TempDir(), Dockerfile: "-", Stdin: strings.NewReader("FROM scratch\nLABEL a=b\n"), NoPush: true, StateDir: t.TempDir(),
			Progress: "plain", ProgressTo: &log, BuildArgs: map[string]string{"BUILDKIT_INLINE_CACHE": value},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "BUILDKIT_INLINE_CACHE puts nothing into the image"); got != warned {
			t.Errorf("with %q, the log is\n%s", value, log.String())
		}
	}
}

func TestReason(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	at := func(err error) error {
		return &op.LocatedError{Location: op.Location{Filename: "Dockerfile", Start: 3}, Err: err}
	}
	for _, c := range []struct {
		want string
		ctx  context.Context
		err  error
	}{
		{"Interrupted", interrupted, at(context.Canceled)},
		{"UsageError", t.Context(), &UsageError{errors.New("no context")}},
		{"RunFailed", t.Context(), at(&isolation.ExitError{Code: 3})},
		{"OutOfMemory", t.Context(), at(&isolation.ExitError{Code: 137, OOM: true})},
		{"IsolationUnavailable", t.Context(), at(&isolation.UnsupportedError{})},
		{"RegistryUnavailable", t.Context(), &registry.Error{Kind: registry.RateLimited}},
		{"RegistryRefused", t.Context(), at(&registry.Error{Kind: registry.Unauthorized})},
		{"PermissionDenied", t.Context(), fmt.Errorf("state: %w", fs.ErrPermission)},
		{"PolicyDenied", t.Context(), at(&policy.DeniedError{})},
		{"DockerfileError", t.Context(), at(errors.New("unknown instruction"))},
		{"BuildFailed", t.Context(), errors.New("disk on fire")},
	} {
		if got := Reason(c.ctx, c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

func TestWriteFailure(t *testing.T) {
	dir := t.TempDir()
	cause := &op.LocatedError{Location: op.Location{Filename: "Dockerfile", Start: 3}, Err: errors.New("the login hunter22 is wrong")}
	named := filepath.Join(dir, "named")
	err := WriteFailure(t.Context(), filepath.Join(dir, "all"), []string{"ERROR_MESSAGE=" + named, "NONSENSE=x"}, [][]byte{[]byte("hunter22")}, cause)
	if !errors.Is(err, cause) || strings.Count(err.Error(), "\n") > 0 {
		t.Errorf("error is %v, want the cause alone", err)
	}
	const message = "Dockerfile:3: the login *** is wrong"
	for path, want := range map[string]string{
		named: message,
		filepath.Join(dir, "all", results.ErrorMessage): message,
		filepath.Join(dir, "all", results.ErrorReason):  "DockerfileError",
	} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "all"))
	if err != nil || len(left) != 2 {
		t.Errorf("%d results, %v; want two", len(left), err)
	}
}
