package launch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
	"github.com/slipway-build/slipway/pkg/isolation/internal/launch"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

const (
	name = "supervisor of a test"
	// keyringVariable asks this binary, run as a command, for its session keyring.
	keyringVariable = "SLIPWAY_TEST_KEYRING"
)

// spec are the instructions of these tests.
type spec struct {
	Fail    bool // at a step of its own
	Command supervisor.Command
}

func TestMain(m *testing.M) {
	supervisor.Main(name, func(s *spec, r *supervisor.Reaper) (supervisor.Report, error) {
		if s.Fail {
			return supervisor.Report{}, &supervisor.StepError{Step: "failing", Err: unix.EXDEV}
		}
		return r.Run(&s.Command, false)
	})
	if os.Getenv(keyringVariable) != "" {
		fmt.Print(unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false))
		return
	}
	m.Run()
}

// run runs a command and returns its output and the report's error.
func run(ctx context.Context, t *testing.T, s *spec, o *launch.Options) (string, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var out bytes.Buffer
	o.Name, o.Dir, o.Stdout = name, "/", &out
	s.Command.Env = append(s.Command.Env, "PATH=/usr/bin:/bin")
	report, err := launch.Run(ctx, s, o)
	if err != nil {
		return out.String(), err
	}
	return out.String(), host.Outcome(report, s.Command.Args, false)
}

func shell(script string) []string { return []string{"sh", "-c", script} }

func TestOutput(t *testing.T) {
	for _, c := range []struct {
		name    string
		command supervisor.Command
		stdin   string
		want    string
	}{
		{"environment", supervisor.Command{Args: shell("echo $A"), Env: []string{"A=b"}}, "", "b\n"},
		{"input", supervisor.Command{Args: shell("cat")}, "text", "text"},
		{"user and groups", supervisor.Command{Args: shell("id -u; id -g; id -G"), UID: 7, GID: 8, Groups: []uint32{9}}, "", "7\n8\n8 9\n"},
		{"limit", supervisor.Command{Args: shell("ulimit -n"), Rlimits: []supervisor.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 77, Hard: 78}}}, "", "77\n"},
		{
			"capabilities", supervisor.Command{Args: shell("grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status"), Capabilities: 1 << unix.CAP_CHOWN}, "",
			"CapPrm:\t0000000000000001\nCapEff:\t0000000000000001\nCapBnd:\t0000000000000001\nCapAmb:\t0000000000000000\n",
		},
		{"descriptors", supervisor.Command{Args: shell("ls /proc/$$/fd; :")}, "", "0\n1\n2\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &launch.Options{}
			if c.stdin != "" {
				o.Stdin = strings.NewReader(c.stdin)
			}
			got, err := run(t.Context(), t, &spec{Command: c.command}, o)
			if err != nil {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("output is %q, want %q", got, c.want)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		signal syscall.Signal
		cause  error
	}{
		{"success", shell("exit 0"), 0, 0, nil},
		{"status", shell("exit 3"), 3, 0, nil},
		{"signal", shell("kill -TERM $$"), 143, unix.SIGTERM, nil},
		{"no such program", []string{"no-such-program"}, 127, 0, nil},
		{"not a program", []string{"/etc/passwd"}, 126, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := run(t.Context(), t, &spec{Command: supervisor.Command{Args: c.args}}, &launch.Options{})
			if c.code == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var exit *isolation.ExitError
			if !errors.As(err, &exit) || exit.Code != c.code || exit.Signal != c.signal {
				t.Errorf("error is %v, want code %d and signal %d", err, c.code, c.signal)
			}
		})
	}
}

func TestStepErrorsAreReported(t *testing.T) {
	_, err := run(t.Context(), t, &spec{Fail: true}, &launch.Options{})
	if !errors.Is(err, unix.EXDEV) || err.Error() != "isolation: failing: "+unix.EXDEV.Error() {
		t.Errorf("error is %v", err)
	}
	limit := supervisor.Rlimit{Resource: -1}
	_, err = run(t.Context(), t, &spec{Command: supervisor.Command{Args: shell("true"), Rlimits: []supervisor.Rlimit{limit}}}, &launch.Options{})
	if !errors.Is(err, unix.EINVAL) || !strings.HasPrefix(err.Error(), "isolation: setting resource limits: ") {
		t.Errorf("error is %v", err)
	}
}

func TestReportOfMemoryRunningOut(t *testing.T) {
	for _, c := range []struct {
		code      int
		oomKilled bool
		want      bool
	}{{137, true, true}, {137, false, false}, {1, true, false}} {
		var exit *isolation.ExitError
		if err := host.Outcome(&supervisor.Report{Code: c.code}, nil, c.oomKilled); !errors.As(err, &exit) || exit.OOM != c.want {
			t.Errorf("code %d, killed %v: error is %v", c.code, c.oomKilled, err)
		}
	}
}

func TestStartError(t *testing.T) {
	o := &launch.Options{Name: name, Dir: t.TempDir() + "/missing"}
	_, err := launch.Run(t.Context(), &spec{}, o)
	var start *launch.StartError
	if !errors.As(err, &start) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want a StartError", err)
	}
}

// gone waits a little for a process to end.
func gone(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatalf("no process number: %v", err)
	}
	for range 100 {
		if errors.Is(unix.Kill(n, 0), unix.ESRCH) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d is still there", n)
}

func TestLeftProcessesAreKilled(t *testing.T) {
	// In a session of its own, and with its parent gone.
	out, err := run(t.Context(), t, &spec{Command: supervisor.Command{
		Args: shell("setsid sh -c 'sleep 1000 >/dev/null 2>&1 & echo $!'"),
	}}, &launch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	gone(t, strings.TrimSpace(out))
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	why := errors.New("no more time")
	time.AfterFunc(500*time.Millisecond, func() { cancel(why) })
	out, err := run(ctx, t, &spec{Command: supervisor.Command{
		Args: shell("sleep 1000 >/dev/null 2>&1 & echo $!; wait"),
	}}, &launch.Options{})
	if !errors.Is(err, why) {
		t.Errorf("error is %v, want the cause", err)
	}
	gone(t, strings.TrimSpace(out))
}

func TestCommandHasAKeyringOfItsOwn(t *testing.T) {
	ours, err := unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		t.Skip("there are no keyrings here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // it is a matter of threads
		out, err := run(t.Context(), t, &spec{Command: supervisor.Command{Args: []string{self}, Env: []string{keyringVariable + "=1"}}}, &launch.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if theirs, rest, _ := strings.Cut(out, " "); theirs == strconv.Itoa(ours) || rest != "<nil>" {
			t.Errorf("the command's keyring is %q, ours %d", out, ours)
		}
	}
}
