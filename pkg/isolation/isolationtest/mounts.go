package isolationtest

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/tree"
)

// with gives the process mounts.
func with(mounts ...isolation.Mount) func(*testing.T, *isolation.Process) {
	return func(_ *testing.T, p *isolation.Process) { p.Mounts = mounts }
}

// source is the tree that bind mounts show.
func source(t *testing.T) *tree.Tree {
	return tree.New(
		Layer(t, Dir("src", 0o755), File("src/a", 0o644, "a"), File("src/b", 0o600, "b"), Symlink("src/l", "/src/a")),
		Layer(t, Dir("src", 0o755), Whiteout("src/b"), Owned(File("src/c", 0o640, "c"), 1000, 1000)),
	)
}

// bind mounts the source tree at /mnt/src.
func bind(change func(*isolation.Mount)) func(*testing.T, *isolation.Process) {
	return func(t *testing.T, p *isolation.Process) {
		m := isolation.Mount{Type: isolation.MountBind, Target: "/mnt/src", Tree: source(t)}
		change(&m)
		p.Mounts = []isolation.Mount{m}
	}
}

func mountCases() []testCase {
	return append(append(bindCases(), hostCases()...), placeCases()...)
}

func bindCases() []testCase {
	return []testCase{
		{
			name: "bind", edit: bind(func(m *isolation.Mount) { m.ReadOnly = true }),
			script: "cd /mnt/src/src; ls; cat a c; stat -c ' %a %u' c", out: "a\nc\nl\nac 640 1000\n", want: []string{},
		},
		{name: "bind read-only cannot be written", edit: bind(func(m *isolation.Mount) { m.ReadOnly = true }), script: "echo x >/mnt/src/x", code: 1},
		{
			name: "bind whose changes are discarded", edit: bind(func(*isolation.Mount) {}),
			script: "cd /mnt/src/src; echo x >>a; rm c; echo n >n; cat a n", out: "ax\nn\n", want: []string{},
		},
		{
			name: "bind whose changes are wanted", edit: bind(func(m *isolation.Mount) { m.Output = true }),
			script: "cd /mnt/src/src; echo x >>a; rm c; touch -d @1100000000 a .", want: []string{},
			after: func(t *testing.T, c *isolation.Changes) {
				if c.Outputs[0] == nil {
					t.Fatal("there is no output 0")
				}
				want := []string{"dir 0755 0:0 src @1100000000", `file 0644 0:0 src/a "ax\n" @1100000000`, "gone src/c"}
				if d := diff(Dump(t, c.Outputs[0]), want); d != "" {
					t.Errorf("changes of the mount:%s", d)
				}
			},
		},
		{name: "bind of a directory", edit: bind(func(m *isolation.Mount) { m.Selector = "src" }), script: "cat /mnt/src/a", out: "a", want: []string{}},
		{
			name: "bind of a file", edit: bind(func(m *isolation.Mount) { m.Selector, m.Target = "/src/a", "/mnt/file" }),
			script: "cat /mnt/file", out: "a", want: []string{},
		},
		{name: "bind through a link of its own tree", edit: bind(func(m *isolation.Mount) { m.Selector = "src/l" }), script: "cat /mnt/src", out: "a", want: []string{}},
		{
			name: "bind of what does not exist", edit: bind(func(m *isolation.Mount) { m.Selector = "src/none" }), script: ":",
			fails: func(t *testing.T, err error) {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("error is %v, want one matching fs.ErrNotExist", err)
				}
			},
		},
		{name: "bind of an empty tree", edit: bind(func(m *isolation.Mount) { m.Tree = nil }), script: "ls -A /mnt/src", want: []string{}},
		{
			name: "two binds of one tree do not see each other", script: "echo x >/m1/x; test ! -e /m2/x", want: []string{},
			edit: func(t *testing.T, p *isolation.Process) {
				src := source(t)
				p.Mounts = []isolation.Mount{{Type: isolation.MountBind, Target: "/m1", Tree: src}, {Type: isolation.MountBind, Target: "/m2", Tree: src}}
			},
		},
		{
			name: "bind over the process's own root", base: data(File("data/f", 0o644, "x")),
			edit: func(_ *testing.T, p *isolation.Process) {
				p.Mounts = []isolation.Mount{{Type: isolation.MountBind, Target: "/copy", Tree: p.Root}}
			},
			script: "echo y >/data/f; cat /copy/data/f; touch -d @1100000000 /data/f", out: "x", want: []string{dataDir, `file 0644 0:0 data/f "y\n" @1100000000`},
		},
	}
}

func hostCases() []testCase {
	return []testCase{
		{
			name: "cache", script: "cat /cache/old; echo new >/cache/new", out: "old", want: []string{},
			edit: func(t *testing.T, p *isolation.Process) {
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, "old"), []byte("old"), 0o644); err != nil {
					t.Fatal(err)
				}
				p.Mounts = []isolation.Mount{{Type: isolation.MountCache, Target: "/cache", HostDir: dir}}
				t.Cleanup(func() {
					got, err := os.ReadFile(filepath.Join(dir, "new"))
					if err != nil || string(got) != "new\n" {
						t.Errorf("the cache has %q (%v), want what the process wrote", got, err)
					}
				})
			},
		},
		{
			name: "cache with a first content", script: "ls /cache; stat -c '%a %u' /cache/src/c", out: "a\nc\nl\n640 1000\n", want: []string{}, code: 0,
			edit: func(t *testing.T, p *isolation.Process) {
				dir := filepath.Join(t.TempDir(), "cache")
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				p.Mounts = []isolation.Mount{{Type: isolation.MountCache, Target: "/cache", HostDir: dir, Tree: source(t), Selector: "src"}}
				p.Args[2] = "ls /cache; stat -c '%a %u' /cache/c"
			},
		},
		{
			name: "cache at two places", script: "echo x >/one/f; cat /two/f; echo y >>/two/f; cat /one/f", out: "x\nx\ny\n", want: []string{},
			edit: func(t *testing.T, p *isolation.Process) {
				dir := t.TempDir()
				for _, target := range []string{"/one", "/two"} {
					p.Mounts = append(p.Mounts, isolation.Mount{Type: isolation.MountCache, Target: target, HostDir: dir})
				}
				t.Cleanup(func() {
					got, err := os.ReadFile(filepath.Join(dir, "f"))
					if err != nil || string(got) != "x\ny\n" {
						t.Errorf("the cache has %q (%v), want what the process wrote", got, err)
					}
				})
			},
		},
		{
			name: "cache read-only", script: "echo x >/cache/x", code: 1,
			edit: func(t *testing.T, p *isolation.Process) {
				p.Mounts = []isolation.Mount{{Type: isolation.MountCache, Target: "/cache", HostDir: t.TempDir(), ReadOnly: true}}
			},
		},
		{
			name: "tmpfs", edit: with(isolation.Mount{Type: isolation.MountTmpfs, Target: "/scratch", Size: 1 << 20}), want: []string{},
			script: "echo x >/scratch/x; df -k /scratch | tail -n 1 | awk '{print $2}'; stat -c %a /scratch; if head -c 2000000 /dev/zero >/scratch/y; then exit 1; fi 2>/dev/null",
			out:    "1024\n1777\n",
		},
		{
			name: "tmpfs over files", base: data(File("data/f", 0o644, "x")), edit: with(isolation.Mount{Type: isolation.MountTmpfs, Target: "/data"}),
			script: "ls -A /data; echo x >/data/g", want: []string{},
		},
		{
			name: "secret", edit: func(t *testing.T, p *isolation.Process) {
				asApp(t, p)
				p.Mounts = []isolation.Mount{{
					Type: isolation.MountSecret, Target: "/run/secrets/key", Data: []byte("hush"),
					UID: 1000, GID: 2000, Mode: 0o440,
				}}
			},
			script: "cat /run/secrets/key; stat -c ' %a %u %g' /run/secrets/key; if echo x >/run/secrets/key; then exit 1; fi 2>/dev/null",
			out:    "hush 440 1000 2000\n", want: []string{},
		},
		{
			name: "secret that others may not read", edit: func(t *testing.T, p *isolation.Process) {
				asApp(t, p)
				p.Mounts = []isolation.Mount{{Type: isolation.MountSecret, Target: "/key", Data: []byte("hush"), Mode: 0o400}}
			},
			script: "cat /key", code: 1, outNot: []string{"hush"},
		},
		{name: "empty secret", edit: with(isolation.Mount{Type: isolation.MountSecret, Target: "/key", Mode: 0o400}), script: "wc -c </key", out: "0\n", want: []string{}},
		{
			name: "secret over a file", base: data(File("data/f", 0o644, "x")),
			edit:   with(isolation.Mount{Type: isolation.MountSecret, Target: "/data/f", Data: []byte("hush"), Mode: 0o400}),
			script: "cat /data/f", out: "hush", want: []string{},
		},
		{
			name: "ssh agent", script: "stat -c '%a %u %F' /run/agent; helper talk /run/agent hello; helper talk /run/agent again", want: []string{},
			out: "600 1000 socket\nyou said hello\nyou said again\n",
			edit: func(t *testing.T, p *isolation.Process) {
				asApp(t, p)
				p.Mounts = []isolation.Mount{{Type: isolation.MountSSH, Target: "/run/agent", HostSocket: agent(t), UID: 1000, GID: 1000, Mode: 0o600}}
			},
		},
	}
}

// agent answers on a socket as long as the test runs.
func agent(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "agent")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			word, err := io.ReadAll(c)
			if err == nil {
				_, err = c.Write(append([]byte("you said "), word...))
			}
			if err != nil {
				t.Error(err)
			}
			_ = c.Close()
		}
	}()
	return path
}

// placeCases are about where mounts go, and that nothing of it stays.
func placeCases() []testCase {
	tmpfs := func(target string) isolation.Mount {
		return isolation.Mount{Type: isolation.MountTmpfs, Target: target}
	}
	return []testCase{
		{
			name: "missing mount points deep down", base: data(), edit: with(tmpfs("/data/a/b/c"), tmpfs("/new/d")),
			script: "echo x >/data/a/b/c/x; test -d /new/d", want: []string{},
		},
		{
			name: "files beside a mount point stay", base: data(), edit: with(tmpfs("/data/a/b/c")),
			script: "echo x >/data/a/x; touch -d @1100000000 /data/a/x /data/a" + keep,
			want:   []string{dataDir, `dir 0755 0:0 data/a @1100000000`, `file 0644 0:0 data/a/x "x\n" @1100000000`},
		},
		{
			name: "mount inside a mount", base: data(),
			edit:   with(tmpfs("/data/a"), isolation.Mount{Type: isolation.MountSecret, Target: "/data/a/b/key", Data: []byte("k"), Mode: 0o400}),
			script: "cat /data/a/b/key", out: "k", want: []string{},
		},
		{
			name: "mount inside a read-only mount", script: "cat /mnt/src/new/key; if echo x >/mnt/src/x; then exit 1; fi 2>/dev/null", out: "k", want: []string{},
			edit: func(t *testing.T, p *isolation.Process) {
				p.Mounts = []isolation.Mount{
					{Type: isolation.MountBind, Target: "/mnt/src", Tree: source(t), ReadOnly: true},
					{Type: isolation.MountSecret, Target: "/mnt/src/new/key", Data: []byte("k"), Mode: 0o400},
				}
			},
		},
		{
			name: "mount point in a cache is removed", script: ":", want: []string{},
			edit: func(t *testing.T, p *isolation.Process) {
				dir := t.TempDir()
				p.Mounts = []isolation.Mount{
					{Type: isolation.MountCache, Target: "/cache", HostDir: dir},
					tmpfs("/cache/sub"),
				}
				t.Cleanup(func() {
					if names, err := os.ReadDir(dir); err != nil || len(names) > 0 {
						t.Errorf("the cache has %v (%v)", names, err)
					}
				})
			},
		},
		{
			name: "mount point behind a link", base: data(Symlink("data/l", "/data/../../../data/real"), Dir("data/real", 0o755)),
			edit: with(tmpfs("/data/l/x")), script: "echo x >/data/real/x/y; ls /data/l/x", out: "y\n", want: []string{},
		},
		{
			name: "mount point behind a dangling link", base: data(Symlink("data/l", "gone/away")),
			edit: with(tmpfs("/data/l/x")), script: "test -d /data/gone/away/x", want: []string{},
		},
		{
			name: "directory over a file", base: data(File("data/f", 0o644, "")), edit: with(tmpfs("/data/f")), script: ":",
			fails: func(t *testing.T, err error) {
				if err == nil {
					t.Error("no error")
				}
			},
		},
		{
			name: "below /dev", edit: func(t *testing.T, p *isolation.Process) {
				src := tree.New(Layer(t, File("EOF", 0o755, "#!/bin/sh\necho from a heredoc\n")))
				p.Mounts = []isolation.Mount{{Type: isolation.MountBind, Target: "/dev/pipes/", Tree: src, ReadOnly: true}}
			},
			script: "/dev/pipes/EOF", out: "from a heredoc\n", want: []string{},
		},
		{
			name: "working directory inside a mount", script: "pwd; ls -d .", want: []string{}, base: data(Dir("data/w", 0o755)),
			edit: func(_ *testing.T, p *isolation.Process) {
				p.Mounts, p.Cwd = []isolation.Mount{tmpfs("/data")}, "/data/w"
			},
			out: "/data/w\n.\n",
		},
		{name: "at the root", edit: with(tmpfs("/")), script: ":", fails: func(*testing.T, error) {}},
		{name: "at a relative path", edit: with(tmpfs("data")), script: ":", fails: func(*testing.T, error) {}},
		{name: "of no kind", edit: with(isolation.Mount{Target: "/data"}), script: ":", fails: func(*testing.T, error) {}},
		{
			name: "mounts over an image's own files leave them unchanged", base: data(Dir("data/d", 0o755), File("data/d/f", 0o644, "x")),
			edit: with(tmpfs("/data/d")), script: "echo y >/data/d/f", want: []string{},
		},
	}
}
