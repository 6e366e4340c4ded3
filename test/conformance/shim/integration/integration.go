// Package integration stands in for BuildKit's package of that name: it runs its tests with a sandbox in
// which slipway is the one worker there is.
package integration

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/continuity/fs/fstest"
	"github.com/stretchr/testify/require"
	"github.com/tonistiigi/fsutil"
)

// SkipEnv names the environment variable with the tests that are not applicable: lines of a name, a
// tab and the reason.
const SkipEnv = "CONFORMANCE_NOT_APPLICABLE"

// ErrRequirements marks the lack of something that a test needs.
var ErrRequirements = errors.New("missing requirements")

// Test is one of BuildKit's tests.
type Test interface {
	Name() string
	Run(t *testing.T, sb Sandbox)
}

type testFunc struct {
	name string
	run  func(*testing.T, Sandbox)
}

func (f testFunc) Name() string                 { return f.name }
func (f testFunc) Run(t *testing.T, sb Sandbox) { t.Helper(); f.run(t, sb) }

// TestFuncs makes tests of functions, named after them with a capital letter.
func TestFuncs(funcs ...func(*testing.T, Sandbox)) []Test {
	var tests []Test
	for _, f := range funcs {
		name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
		name = name[strings.LastIndex(name, ".")+1:]
		tests = append(tests, testFunc{name: strings.ToUpper(name[:1]) + name[1:], run: f})
	}
	return tests
}

// ConfigUpdater is a value of a matrix that changes a daemon's configuration. There is no daemon; the
// client does in its place what matters of it.
type ConfigUpdater interface {
	UpdateConfigFile(string) (string, func() error)
}

// TestOpt is an option of Run.
type TestOpt func(*config)

type config struct {
	matrix map[string]map[string]any
	prefix string
}

// WithPrefix says what is before the names of the tests in the list of those that are not applicable.
func WithPrefix(prefix string) TestOpt { return func(c *config) { c.prefix = prefix } }

// WithMatrix runs each test once with each of the values, which Sandbox.Value gives under key.
func WithMatrix(key string, values map[string]any) TestOpt {
	return func(c *config) { c.matrix[key] = values }
}

// WithMirroredImages does nothing: package mirror has all images.
func WithMirroredImages(map[string]string) TestOpt { return func(*config) {} }

// OfficialImages has nothing to mirror either.
func OfficialImages(...string) map[string]string { return nil }

// Run runs tests as subtests TestX/worker=slipway/…, in parallel.
func Run(t *testing.T, tests []Test, opts ...TestOpt) {
	c := config{matrix: map[string]map[string]any{}}
	for _, o := range opts {
		o(&c)
	}
	inapplicable := notApplicable()
	for _, test := range tests {
		for _, values := range c.combinations() {
			if f, ok := values["frontend"]; ok && f.name != frontend(test.Name()) {
				continue
			}
			t.Run(test.Name()+"/worker=slipway"+values.suffix(), func(t *testing.T) {
				if reason, ok := inapplicable[c.prefix+test.Name()]; ok {
					t.Skip(reason)
				}
				if !strings.HasSuffix(test.Name(), "NoParallel") {
					t.Parallel()
				}
				defer func() {
					if cause := recover(); cause != nil {
						// It must not end the other tests.
						t.Errorf("panic: %v\n%s", cause, debug.Stack())
					}
				}()
				test.Run(t, newSandbox(t, values))
			})
		}
	}
}

// frontend is the one of BuildKit's ways to a frontend that a test is run with. Both end in the same call
// of slipway, so one is enough; but some tests skip all ways except that through a client's callback.
func frontend(test string) string {
	if strings.HasPrefix(test, "TestOutline") || strings.HasPrefix(test, "TestTargets") || test == "TestFrontendSubrequests" {
		return "client"
	}
	return "builtin"
}

// notApplicable gives the reasons by the names of tests.
func notApplicable() map[string]string {
	reasons := map[string]string{}
	for line := range strings.Lines(os.Getenv(SkipEnv)) {
		name, reason, _ := strings.Cut(strings.TrimSpace(line), "\t")
		reasons[name] = reason
	}
	return reasons
}

// choice is a value of each key of a matrix, and the value's name.
type choice map[string]struct {
	name  string
	value any
}

func (c choice) suffix() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "/%s=%s", key, c[key].name)
	}
	return b.String()
}

func (c config) combinations() []choice {
	all := []choice{{}}
	for _, key := range slices.Sorted(maps.Keys(c.matrix)) {
		var next []choice
		for _, before := range all {
			for _, name := range slices.Sorted(maps.Keys(c.matrix[key])) {
				with := maps.Clone(before)
				with[key] = struct {
					name  string
					value any
				}{name, c.matrix[key][name]}
				next = append(next, with)
			}
		}
		all = next
	}
	return all
}

// TmpDirWithName is a directory as file system and by its path.
type TmpDirWithName struct {
	fsutil.FS
	Name string
}

func (d *TmpDirWithName) String() string { return d.Name }

// Path is the directory's path, by which a client need not copy it.
func (d *TmpDirWithName) Path() string { return d.Name }

// Tmpdir makes a directory that is there until the test ends. Its path is short, as it may hold sockets.
func Tmpdir(t *testing.T, appliers ...fstest.Applier) *TmpDirWithName {
	t.Helper()
	dir, err := os.MkdirTemp("", "conformance-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, fstest.Apply(appliers...).Apply(dir))
	mount, err := fsutil.NewFS(dir)
	require.NoError(t, err)
	return &TmpDirWithName{FS: mount, Name: dir}
}

// SkipOnPlatform skips a test on an operating system, or with "!" before it on all others.
func SkipOnPlatform(t *testing.T, goos string, reason ...string) {
	other, negated := strings.CutPrefix(goos, "!")
	if (runtime.GOOS == other) != negated {
		t.Skipf("skipped on %s: %s", runtime.GOOS, strings.Join(reason, " "))
	}
}

// UnixOrWindows is its first argument: slipway builds on Linux.
func UnixOrWindows[T any](unix, _ T) T { return unix }
