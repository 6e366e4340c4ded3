package isolationtest

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
)

// processCases are about how the process starts, what it sees of itself, and how it ends.
func processCases() []testCase {
	return append(append(startCases(), endCases()...), etcCases()...)
}

func startCases() []testCase {
	return []testCase{
		{
			name: "environment", args: []string{"/bin/env"}, out: "PATH=/bin\nEMPTY=\nA=b c=d\n", want: []string{},
			edit: func(t *testing.T, p *isolation.Process) {
				t.Setenv("OF_THE_BUILDER", "secret")
				p.Env = []string{"PATH=/bin", "EMPTY=", "A=b c=d"}
			},
		},
		{
			name: "no environment at all", args: []string{"/bin/env"}, want: []string{},
			edit:   func(_ *testing.T, p *isolation.Process) { p.Env = nil },
			outNot: []string{"="},
		},
		{name: "arguments", args: []string{"printf", "[%s]", "a b", "", "'\"$x\\", "\xff"}, out: "[a b][]['\"$x\\][\xff]", want: []string{}},
		{name: "path of the program", args: []string{"/bin/echo", "x"}, out: "x\n", want: []string{}},
		{
			name: "path relative to the working directory", args: []string{"bin/echo", "x"}, out: "x\n", want: []string{},
		},
		{
			name: "program found through PATH", args: []string{"tool"}, out: "second\n", want: []string{},
			base: data(Dir("data/tool", 0o755), Dir("data/b", 0o755), File("data/b/tool", 0o755, "#!/bin/sh\necho second\n")),
			edit: func(_ *testing.T, p *isolation.Process) { p.Env = []string{"PATH=/nowhere:/data:/data/b:/bin"} },
		},
		{name: "user and groups", script: "id -u; id -g; id -G", edit: asApp, out: "1000\n1000\n1000 10 2000\n", want: []string{}},
		{name: "root's groups", script: "id -u; id -g; id -G", out: "0\n0\n0\n", want: []string{}},
		{
			name: "a user may do what the modes allow", edit: asApp, base: data(Owned(Dir("data/own", 0o700), 1000, 1000), File("data/f", 0o644, "x")),
			script: "echo x >/data/own/f; touch -d @1100000000 /data/own/f /data/own; if echo y >/data/f; then exit 1; fi 2>/dev/null",
			want:   []string{dataDir, `dir 0700 1000:1000 data/own @1100000000`, `file 0644 1000:1000 data/own/f "x\n" @1100000000`},
		},
		{
			name: "a missing working directory is made", edit: func(t *testing.T, p *isolation.Process) { asApp(t, p); p.Cwd = "/data/a/b" },
			base: data(), script: "pwd; touch -d @1100000000 /data/a/b /data/a",
			out:  "/data/a/b\n",
			want: []string{"dir 0755 0:0 data", `dir 0755 1000:1000 data/a @1100000000`, `dir 0755 1000:1000 data/a/b @1100000000`},
		},
		{
			name: "working directory behind links", edit: func(_ *testing.T, p *isolation.Process) { p.Cwd = "/data/l/sub" },
			base: data(Symlink("data/l", "/../../data/m"), Symlink("data/m", "real/../real"), Dir("data/real", 0o755), Dir("data/real/sub", 0o755)),
			args: []string{"/bin/pwd"}, out: "/data/real/sub\n", want: []string{},
		},
		{
			name: "working directory that is a file", edit: func(_ *testing.T, p *isolation.Process) { p.Cwd = "/etc/passwd" },
			script: ":", fails: func(t *testing.T, err error) {
				if !errors.Is(err, syscall.ENOTDIR) {
					t.Errorf("error is %v, want one matching ENOTDIR", err)
				}
			},
		},
		{name: "umask", script: "umask", out: "0022\n", want: []string{}},
		{name: "empty standard input", args: []string{"cat"}, want: []string{}},
		{
			name: "standard input", args: []string{"cat"}, out: "some input", want: []string{},
			edit: func(_ *testing.T, p *isolation.Process) { p.Stdin = strings.NewReader("some input") },
		},
		{
			name: "standard input that nobody reads", args: []string{"true"}, want: []string{},
			edit: func(_ *testing.T, p *isolation.Process) { p.Stdin = strings.NewReader(strings.Repeat("x", 1<<20)) },
		},
		{
			name: "limits", script: "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc", out: "123\n456\n0\n0\n", want: []string{},
			edit: func(_ *testing.T, p *isolation.Process) {
				p.Ulimits = []isolation.Ulimit{{Name: "nofile", Soft: 123, Hard: 456}, {Name: "core"}}
			},
		},
		{
			name: "limit of the address space", script: "ulimit -v", out: "65536\n", want: []string{},
			edit: func(_ *testing.T, p *isolation.Process) {
				p.Ulimits = []isolation.Ulimit{{Name: "as", Soft: 64 << 20, Hard: 64 << 20}}
			},
		},
		{
			name: "unknown limit", script: ":", fails: func(*testing.T, error) {},
			edit: func(_ *testing.T, p *isolation.Process) {
				p.Ulimits = []isolation.Ulimit{{Name: "patience", Soft: 1, Hard: 1}}
			},
		},
		{name: "writing to /dev/stdout and /dev/stderr as a user", edit: asApp, script: "echo a >/dev/stdout; echo b >/dev/stderr", out: "a\nb\n", want: []string{}},
		{
			name: "devices that everybody expects", edit: asApp,
			script: "echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c; test -c /dev/full; test -c /dev/tty; test -d /dev/pts; echo x | cat /dev/stdin; ls /dev/fd >/dev/null",
			out:    "3\n5\nx\n", want: []string{},
		},
		{name: "own processes in /proc", script: "test -d /proc/self; readlink /proc/self/exe; test -d /proc/1", out: "/bin/busybox\n", want: []string{}},
		{
			name: "size of shared memory", script: "df -k /dev/shm | tail -n 1 | awk '{print $2}'; stat -c %a /dev/shm", out: "65536\n1777\n", want: []string{},
		},
		{
			name: "another size of shared memory", script: "df -k /dev/shm | tail -n 1 | awk '{print $2}'", out: "3072\n", want: []string{},
			edit: func(_ *testing.T, p *isolation.Process) { p.ShmSize = 3 << 20 },
		},
	}
}

func endCases() []testCase {
	notStarted := func(code int, text string) func(t *testing.T, err error) {
		return func(t *testing.T, err error) {
			checkExit(t, err, code)
			var exit *isolation.ExitError
			if errors.As(err, &exit) && (exit.Err == nil || !strings.Contains(exit.Err.Error(), text)) {
				t.Errorf("error is %v, want it to say %q", err, text)
			}
		}
	}
	return []testCase{
		{name: "exit code", script: "echo out; exit 3", out: "out\n", code: 3},
		{name: "highest exit code", script: "exit 255", code: 255},
		{name: "command that a shell does not find", script: "nosuchcommand", code: 127},
		{
			name: "killed by a signal", script: "kill -TERM $$", fails: func(t *testing.T, err error) {
				checkExit(t, err, 128+15)
				var exit *isolation.ExitError
				if errors.As(err, &exit) && exit.Signal != syscall.SIGTERM {
					t.Errorf("signal is %v, want SIGTERM", exit.Signal)
				}
			},
		},
		{name: "program not found", args: []string{"nosuchcommand"}, fails: notStarted(127, `exec: "nosuchcommand": executable file not found in $PATH`)},
		{name: "path not found", args: []string{"/no/such/command"}, fails: notStarted(127, "no such file or directory")},
		{name: "program without a name", args: []string{""}, fails: notStarted(127, "not found")},
		{name: "program not executable", args: []string{"/etc/passwd"}, fails: notStarted(126, "permission denied")},
		{name: "program is a directory", args: []string{"/etc"}, fails: notStarted(126, "is a directory")},
		{
			name: "program only executable for others", args: []string{"/data/f"}, edit: asApp,
			base: data(File("data/f", 0o700, "#!/bin/sh\n")), fails: notStarted(126, "permission denied"),
		},
		{
			name: "program of an unknown format", args: []string{"/data/f"},
			base: data(File("data/f", 0o755, "\x00\x01\x02")), fails: notStarted(126, "exec format error"),
		},
		{
			name: "interpreter not found", args: []string{"/data/f"},
			base: data(File("data/f", 0o755, "#!/no/such/interpreter\n")), fails: notStarted(127, "no such file or directory"),
		},
		{name: "no command", args: []string{}, fails: func(*testing.T, error) {}},
		{
			name: "relative working directory", script: ":", fails: func(*testing.T, error) {},
			edit: func(_ *testing.T, p *isolation.Process) { p.Cwd = "data" },
		},
	}
}

func unsupported(t *testing.T, err error) {
	t.Helper()
	var u *isolation.UnsupportedError
	if !errors.As(err, &u) || u.What == "" || u.Reason == "" {
		t.Errorf("error is %v, want an UnsupportedError with a reason", err)
	}
}

func etcCases() []testCase {
	hostsFile := "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	return []testCase{
		{
			name: "hosts and host name", script: "hostname; cat /etc/hosts",
			out: "buildkitsandbox\n" + hostsFile, want: []string{},
		},
		{
			name: "given hosts and host name", script: "hostname; cat /etc/hosts",
			edit: func(_ *testing.T, p *isolation.Process) {
				p.Hostname, p.Hosts = "builder", []isolation.Host{{Name: "db", IP: "10.0.0.1"}, {Name: "six", IP: "fe80::1"}}
			},
			out:  "builder\n" + strings.Replace(hostsFile, "buildkitsandbox", "builder", 1) + "10.0.0.1\tdb\nfe80::1\tsix\n",
			want: []string{},
		},
		{
			name: "name servers of the pod", script: "cat /etc/resolv.conf", want: []string{},
			edit: func(t *testing.T, p *isolation.Process) {
				host, err := os.ReadFile("/etc/resolv.conf")
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				p.Args = append(p.Args, "sh")
				p.Args[2] = `test "$(cat /etc/resolv.conf)" = "$WANT"`
				p.Env = append(p.Env, "WANT="+strings.TrimRight(string(host), "\n"))
			},
		},
		{
			name:   "an image's own files are hidden, not changed",
			base:   []layer.File{Dir("etc", 0o755), File("etc/hosts", 0o600, "mine"), File("etc/resolv.conf", 0o600, "mine")},
			script: "cat /etc/hosts /etc/resolv.conf", outNot: []string{"mine"}, want: []string{},
		},
		{
			name: "the image's own host name file", base: []layer.File{Dir("etc", 0o755), File("etc/hostname", 0o644, "old\n")},
			script: "cat /etc/hostname; echo new >/etc/hostname; touch -d @1100000000 /etc/hostname", out: "old\n",
			want: []string{"dir 0755 0:0 etc @1000000000", `file 0644 0:0 etc/hostname "new\n" @1100000000`},
		},
		{
			name: "changes beside the provided files", base: []layer.File{Dir("etc", 0o755)},
			script: "echo x >/etc/f; touch -d @1100000000 /etc/f /etc",
			want:   []string{"dir 0755 0:0 etc @1100000000", `file 0644 0:0 etc/f "x\n" @1100000000`},
		},
		{
			name: "name servers behind a dangling link", unlike: true, base: []layer.File{Dir("etc", 0o755), Symlink("etc/resolv.conf", "../run/systemd/resolve/stub.conf")},
			script: "cat /etc/resolv.conf >/dev/null; test -f /run/systemd/resolve/stub.conf", want: []string{},
		},
		{
			name: "links that lead out of the root", unlike: true, base: []layer.File{
				Dir("etc", 0o755), Symlink("etc/resolv.conf", "../../../../../../data/resolv"),
				Symlink("etc/hosts", "/data/../../../data/hosts"), Dir("data", 0o755),
			},
			script: "test -f /data/resolv; grep -q localhost /data/hosts", want: []string{},
		},
		{
			name: "links in a circle", base: []layer.File{Dir("etc", 0o755), Symlink("etc/hosts", "hosts")}, script: ":",
			fails: func(t *testing.T, err error) {
				if !errors.Is(err, syscall.ELOOP) {
					t.Errorf("error is %v, want one matching ELOOP", err)
				}
			},
		},
		{
			name: "a root filesystem without the usual directories", alone: true, base: bareRoot(),
			args:   []string{"/busybox", "sh", "-ec", "/busybox test -f /etc/hosts; /busybox test -d /proc/self; /busybox test -c /dev/null"},
			outNot: []string{"not found"}, want: []string{},
		},
		{
			name: "the provided files cannot be written", script: "echo x >>/etc/hosts", code: 1,
		},
	}
}

// bareRoot is a root filesystem of one program.
func bareRoot() []layer.File {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return []layer.File{} // Rootfs has skipped the test
	}
	return []layer.File{File("busybox", 0o755, string(program))}
}
