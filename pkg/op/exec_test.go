package op_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// backend keeps what it was asked to run.
type backend struct {
	got     *isolation.Process
	during  func(*isolation.Process)
	outputs map[int]layer.Layer
	err     error
}

func (b *backend) Name() string { return "fake" }
func (b *backend) Close() error { return nil }

func (b *backend) Run(_ context.Context, p *isolation.Process) (*isolation.Changes, error) {
	b.got = p
	if b.during != nil {
		b.during(p)
	}
	if b.err != nil {
		return nil, b.err
	}
	return &isolation.Changes{Root: layer.Empty(), Outputs: b.outputs}, nil
}

type secrets map[string]string

func (s secrets) Secret(_ context.Context, id string) ([]byte, error) {
	v, ok := s[id]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(v), nil
}

func environment(t *testing.T, b *backend) *op.Env {
	t.Helper()
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return &op.Env{
		Isolation: b, State: st, Now: time.Unix(1000, 0).UTC(),
		Secrets: secrets{"token": "hunter22"}, Agents: map[string]string{"default": "/agent"},
	}
}

// rootfs is a tree with a user and the given files.
func rootfs(t *testing.T, files map[string]string) *tree.Tree {
	t.Helper()
	list := []layer.File{
		file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"),
		file("etc/group", "root:x:0:\napp:x:1000:\nextra:x:7:app\n"),
	}
	for name, content := range files {
		list = append(list, file(name, content))
	}
	l, err := layer.New(list)
	if err != nil {
		t.Fatal(err)
	}
	return tree.New(l)
}

func file(path, content string) layer.File {
	return layer.File{
		Entry:   layer.Entry{Path: path, Type: layer.Regular, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1, 0).UTC()},
		Content: layer.Bytes([]byte(content)),
	}
}

// input gives a tree the key that a name stands for.
func input(t *tree.Tree, name string) op.Input {
	return op.Input{Tree: t, Key: func(context.Context) (op.Key, error) {
		var k op.Key
		copy(k[:], name)
		return k, nil
	}}
}

var root = op.ExecMount{Type: isolation.MountBind, Dest: "/", Input: 0, Output: 0}

func TestExecEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		exec op.Exec
		want []string
	}{
		"defaults":              {op.Exec{}, []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}},
		"image's own win":       {op.Exec{Env: []string{"PATH=/p", "HOME=/h"}}, []string{"PATH=/p", "HOME=/h"}},
		"home of the user":      {op.Exec{User: "app", Env: []string{"PATH=/p"}}, []string{"PATH=/p", "HOME=/home/app"}},
		"proxies in both cases": {op.Exec{Env: []string{"PATH=/p", "HOME=/h", "http_proxy=mine"}, ProxyEnv: []string{"HTTP_PROXY=x"}}, []string{"PATH=/p", "HOME=/h", "http_proxy=mine", "HTTP_PROXY=x"}},
		"secret":                {op.Exec{Env: []string{"PATH=/p", "HOME=/h"}, SecretEnv: []op.SecretEnv{{ID: "token", Name: "T"}, {ID: "none", Name: "N", Optional: true}}}, []string{"PATH=/p", "HOME=/h", "T=hunter22"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &backend{}
			c.exec.Mounts = []op.ExecMount{root}
			if _, err := c.exec.Run(t.Context(), environment(t, b), []op.Input{input(rootfs(t, nil), "base")}); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(b.got.Env, c.want) {
				t.Errorf("got  %q\nwant %q", b.got.Env, c.want)
			}
		})
	}
}

func TestExecUser(t *testing.T) {
	b := &backend{}
	e := op.Exec{User: "app", Mounts: []op.ExecMount{root}}
	if _, err := e.Run(t.Context(), environment(t, b), []op.Input{input(rootfs(t, nil), "base")}); err != nil {
		t.Fatal(err)
	}
	if u := b.got.User; u.UID != 1000 || u.GID != 1000 || !slices.Contains(u.Groups, 7) {
		t.Errorf("got %+v", u)
	}
	e.User = "nobody-we-know"
	if _, err := e.Run(t.Context(), environment(t, b), []op.Input{input(rootfs(t, nil), "base")}); err == nil || !strings.Contains(err.Error(), "nobody-we-know") {
		t.Errorf("unknown user: %v", err)
	}
}

func TestExecMounts(t *testing.T) {
	other := rootfs(t, map[string]string{"dir/f": "x"})
	e := op.Exec{Mounts: []op.ExecMount{
		root,
		{Type: isolation.MountBind, Dest: "/b", Input: 1, Selector: "/dir", Output: -1, ReadOnly: true},
		{Type: isolation.MountTmpfs, Dest: "/t", Input: -1, Output: -1, TmpfsSize: 9},
		{Type: isolation.MountTmpfs, Dest: "/dev/shm", Input: -1, Output: -1, TmpfsSize: 77},
		// Secrets and agents have an output number that means nothing.
		{Type: isolation.MountSecret, Dest: "/s", Input: -1, Output: 0, SecretID: "token", Mode: 0o400, UID: 3},
		{Type: isolation.MountSecret, Dest: "/none", Input: -1, Output: 0, SecretID: "none", Optional: true},
		{Type: isolation.MountSSH, Dest: "/a", Input: -1, Output: 0, SecretID: "", Mode: 0o600},
		{Type: isolation.MountSSH, Dest: "/noagent", Input: -1, Output: 0, SecretID: "none", Optional: true},
	}}
	b := &backend{}
	out, err := e.Run(t.Context(), environment(t, b), []op.Input{input(rootfs(t, nil), "base"), input(other, "other")})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 1 || out[0].Depth() != 2 {
		t.Fatalf("got %d outputs, want the root with one layer more", len(out))
	}
	want := []isolation.Mount{
		{Type: isolation.MountBind, Target: "/b", ReadOnly: true, Tree: other, Selector: "/dir"},
		{Type: isolation.MountTmpfs, Target: "/t", Size: 9},
		{Type: isolation.MountSecret, Target: "/s", Data: []byte("hunter22"), UID: 3, Mode: 0o400},
		{Type: isolation.MountSSH, Target: "/a", HostSocket: "/agent", Mode: 0o600},
	}
	if !reflect.DeepEqual(b.got.Mounts, want) {
		t.Errorf("got  %+v\nwant %+v", b.got.Mounts, want)
	}
	if b.got.ShmSize != 77 {
		t.Errorf("shm size %d, want 77", b.got.ShmSize)
	}
}

func TestExecMissingSecretAndAgent(t *testing.T) {
	for want, e := range map[string]op.Exec{
		`secret s: not found`: {Mounts: []op.ExecMount{root, {Type: isolation.MountSecret, Dest: "/s", Input: -1, SecretID: "s"}}},
		`no SSH key "a"`:      {Mounts: []op.ExecMount{root, {Type: isolation.MountSSH, Dest: "/a", Input: -1, SecretID: "a"}}},
		`secret e: not found`: {Mounts: []op.ExecMount{root}, SecretEnv: []op.SecretEnv{{ID: "e", Name: "E"}}},
	} {
		b := &backend{}
		_, err := e.Run(t.Context(), environment(t, b), []op.Input{input(nil, "scratch")})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
		if b.got != nil {
			t.Error("the process was run all the same")
		}
	}
}

func TestPrivilegesNeedPermission(t *testing.T) {
	for what, c := range map[string]struct {
		exec  op.Exec
		allow func(*op.Env)
	}{
		"security.insecure": {op.Exec{Insecure: true}, func(e *op.Env) { e.AllowInsecure = true }},
		"network.host":      {op.Exec{Network: isolation.NetworkHost}, func(e *op.Env) { e.AllowHostNetwork = true }},
	} {
		b := &backend{}
		env := environment(t, b)
		c.exec.Mounts = []op.ExecMount{root}
		if _, err := c.exec.Run(t.Context(), env, []op.Input{input(nil, "scratch")}); err == nil || !strings.Contains(err.Error(), "--allow "+what) || b.got != nil {
			t.Errorf("%s: got %v", what, err)
		}
		c.allow(env)
		if _, err := c.exec.Run(t.Context(), env, []op.Input{input(nil, "scratch")}); err != nil || b.got.Insecure != c.exec.Insecure || b.got.Network != c.exec.Network {
			t.Errorf("%s: allowed, and got %v", what, err)
		}
	}
}

func TestAbsentDevicesAreNamed(t *testing.T) {
	var log bytes.Buffer
	env := environment(t, &backend{})
	env.Stderr = &log
	e := op.Exec{AbsentDevices: []string{"vendor.com/gpu=0"}, Mounts: []op.ExecMount{root}}
	if _, err := e.Run(t.Context(), env, []op.Input{input(nil, "scratch")}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "vendor.com/gpu=0 is left out") {
		t.Errorf("the log is %q", log.String())
	}
}

func TestExecSecondOutput(t *testing.T) {
	scan := rootfs(t, map[string]string{"x": "y"})
	e := op.Exec{Mounts: []op.ExecMount{
		{Type: isolation.MountBind, Dest: "/", Input: 0, Output: -1},
		{Type: isolation.MountTmpfs, Dest: "/tmp", Input: -1, Output: -1},
		{Type: isolation.MountBind, Dest: "/out", Input: -1, Output: 1},
	}}
	b := &backend{outputs: map[int]layer.Layer{1: layer.Empty()}}
	out, err := e.Run(t.Context(), environment(t, b), []op.Input{input(scan, "s")})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != 2 || out[0] != nil || out[1].Depth() != 1 {
		t.Errorf("got %v, want nothing and a tree of one layer", out)
	}
}

func TestExecFailureIsPassedOn(t *testing.T) {
	failed := &isolation.ExitError{Code: 42, Args: []string{"/bin/sh", "-c", "exit 42"}}
	e := op.Exec{Mounts: []op.ExecMount{root}}
	_, err := e.Run(t.Context(), environment(t, &backend{err: failed}), []op.Input{input(nil, "scratch")})
	var exit *isolation.ExitError
	if !errors.As(err, &exit) || exit.Code != 42 {
		t.Errorf("got %v", err)
	}
}

func TestCacheMountStartsFromTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("setting owners needs root")
	}
	l, err := layer.New([]layer.File{
		{Entry: layer.Entry{Path: "cache", Type: layer.Directory, Mode: 0o750, UID: 12, GID: 13, ModTime: time.Unix(1, 0).UTC()}},
		file("cache/sub/f", "content"),
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{}
	e := op.Exec{Mounts: []op.ExecMount{root, {Type: isolation.MountCache, Dest: "/c", Input: 1, Selector: "/cache", Output: -1, CacheID: "x"}}}
	if _, err := e.Run(t.Context(), environment(t, b), []op.Input{input(nil, "scratch"), input(tree.New(l), "start")}); err != nil {
		t.Fatal(err)
	}
	dir := b.got.Mounts[0].HostDir
	if got, err := os.ReadFile(filepath.Join(dir, "sub", "f")); err != nil || string(got) != "content" {
		t.Errorf("got %q, %v", got, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(info.Mode().Perm()); got != "-rwxr-x---" {
		t.Errorf("mode %s", got)
	}
}

func TestExecKey(t *testing.T) {
	base := func() (op.Exec, []op.Input) {
		return op.Exec{
				Args: []string{"make"}, Env: []string{"A=1"}, Cwd: "/w", User: "app",
				Hosts:     []isolation.Host{{Name: "db", IP: "1.2.3.4"}},
				SecretEnv: []op.SecretEnv{{ID: "token", Name: "T"}},
				Platform:  op.Platform{OS: "linux", Architecture: "amd64"},
				Mounts: []op.ExecMount{root,
					{Type: isolation.MountBind, Dest: "/src", Input: 1, Selector: "/dir", Output: -1, ReadOnly: true},
					{Type: isolation.MountCache, Dest: "/c", Input: -1, Output: -1, CacheID: "go"},
				},
			},
			[]op.Input{input(rootfs(t, nil), "base"), input(rootfs(t, map[string]string{"dir/f": "x", "other": "y"}), "src")}
	}
	key := func(change func(*op.Exec, []op.Input)) op.Key {
		e, in := base()
		if change != nil {
			change(&e, in)
		}
		k, err := e.Key(t.Context(), environment(t, &backend{}), in)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	same := key(nil)
	for name, c := range map[string]struct {
		change func(*op.Exec, []op.Input)
		differ bool
	}{
		"nothing":                    {nil, false},
		"argument":                   {func(e *op.Exec, _ []op.Input) { e.Args = []string{"make", "all"} }, true},
		"arguments joined":           {func(e *op.Exec, _ []op.Input) { e.Args = []string{"makeA=1"}; e.Env = nil }, true},
		"environment":                {func(e *op.Exec, _ []op.Input) { e.Env = []string{"A=2"} }, true},
		"user":                       {func(e *op.Exec, _ []op.Input) { e.User = "root" }, true},
		"working directory":          {func(e *op.Exec, _ []op.Input) { e.Cwd = "/" }, true},
		"platform":                   {func(e *op.Exec, _ []op.Input) { e.Platform.Architecture = "arm64" }, true},
		"network":                    {func(e *op.Exec, _ []op.Input) { e.Network = isolation.NetworkNone }, true},
		"cache id":                   {func(e *op.Exec, _ []op.Input) { e.Mounts[2].CacheID = "npm" }, true},
		"key of the root":            {func(_ *op.Exec, in []op.Input) { in[0] = input(in[0].Tree, "other base") }, true},
		"mounted content":            {func(_ *op.Exec, in []op.Input) { in[1] = input(rootfs(t, map[string]string{"dir/f": "X"}), "src") }, true},
		"proxy":                      {func(e *op.Exec, _ []op.Input) { e.ProxyEnv = []string{"HTTP_PROXY=x"} }, false},
		"address of a host":          {func(e *op.Exec, _ []op.Input) { e.Hosts[0].IP = "4.3.2.1" }, false},
		"name of a host":             {func(e *op.Exec, _ []op.Input) { e.Hosts[0].Name = "cache" }, true},
		"content beside the mounted": {func(_ *op.Exec, in []op.Input) { in[1] = input(rootfs(t, map[string]string{"dir/f": "x"}), "src") }, false},
		"key of what is mounted":     {func(_ *op.Exec, in []op.Input) { in[1] = input(in[1].Tree, "src2") }, false},
	} {
		if differs := key(c.change) != same; differs != c.differ {
			t.Errorf("%s: key differs: %v, want %v", name, differs, c.differ)
		}
	}
}

func TestMerge(t *testing.T) {
	a, b := rootfs(t, map[string]string{"a": "1"}), rootfs(t, map[string]string{"b": "2"})
	m := &op.Merge{}
	in := []op.Input{input(a, "a"), input(b, "b")}
	out, err := m.Run(t.Context(), nil, in)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := out[0].Layers(), []layer.Layer{a.Top(), b.Top()}; !reflect.DeepEqual(got, want) {
		t.Errorf("the layers are not those of the inputs")
	}
	k1, err1 := m.Key(t.Context(), nil, in)
	k2, err2 := m.Key(t.Context(), nil, []op.Input{in[1], in[0]})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if k1 == k2 {
		t.Error("the order of the inputs is not in the key")
	}
}

func TestImageKey(t *testing.T) {
	amd64, arm64 := op.Platform{OS: "linux", Architecture: "amd64"}, op.Platform{OS: "linux", Architecture: "arm64"}
	key := func(i op.Image) op.Key {
		k, err := i.Key(t.Context(), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	base := key(op.Image{Ref: "docker.io/library/alpine:3@sha256:aa", Platform: amd64})
	if key(op.Image{Ref: "mirror.example/alpine@sha256:aa", Platform: amd64, Layout: "l"}) != base {
		t.Error("where an image comes from is in the key")
	}
	if key(op.Image{Ref: "docker.io/library/alpine:3@sha256:bb", Platform: amd64}) == base {
		t.Error("the digest is not in the key")
	}
	if key(op.Image{Ref: "docker.io/library/alpine:3@sha256:aa", Platform: arm64}) == base {
		t.Error("the platform is not in the key")
	}
	if _, err := (&op.Image{Ref: "docker.io/library/alpine:3"}).Key(t.Context(), nil, nil); err == nil {
		t.Error("an image that is not pinned has a key")
	}
}
