package isolationtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// Limits says what a backend cannot do where the test runs, because of the kernel or of the
// test's own privileges; cases that need it are left out.
type Limits struct {
	NoDevices bool // processes cannot make device nodes
	Serial    bool // one process at a time
	// Except has the cases that the backend cannot pass by its nature, as "Group/name", and
	// why.
	Except map[string]string
	// Beside are paths, relative to the root, that processes see with everything below them
	// although no tree has them.
	Beside []string
}

// Run checks that b keeps the contract of [isolation.Backend].
func Run(t *testing.T, b isolation.Backend, limits Limits) {
	s := &suite{backend: b, limits: limits, rootfs: Rootfs(t).Push(Helper(t))}
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"Files", fileCases()},
		{"Layers", layerCases()},
		{"Process", processCases()},
		{"Mounts", mountCases()},
		{"Walls", wallCases()},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) {
					if why, ok := limits.Except[group.name+"/"+c.name]; ok {
						t.Skip(why)
					}
					s.run(t, &c)
				})
			}
		})
	}
	t.Run("Cgroups", s.cgroups)
	t.Run("Stacks", s.stacks)
	t.Run("Lifetime", s.lifetime)
}

type suite struct {
	backend isolation.Backend
	limits  Limits
	rootfs  *tree.Tree
}

// testCase is a process and what is expected of it.
type testCase struct {
	name string
	// base is a layer put onto the root filesystem, alone a root filesystem
	// of nothing else; layers are put on top of base.
	base   []layer.File
	alone  bool
	layers [][]layer.File

	script string // for the shell; or else args
	args   []string
	edit   func(t *testing.T, p *isolation.Process)

	want   []string // what changed, as Dump tells it
	out    string   // what it prints, to both streams
	outHas []string // parts of what it prints
	outNot []string // what it must not print
	code   int      // its exit code
	fails  func(t *testing.T, err error)
	after  func(t *testing.T, c *isolation.Changes)
	needs  func(Limits) string // why the case cannot run
	// unlike is set where the provided files appear in other places than usual.
	unlike bool
}

func (s *suite) tree(t *testing.T, c *testCase) *tree.Tree {
	root := s.rootfs
	if c.alone {
		root = nil
	}
	if len(c.base) > 0 {
		root = root.Push(Layer(t, c.base...))
	}
	for _, files := range c.layers {
		root = root.Push(Layer(t, files...))
	}
	return root
}

// process is the usual process of a case, with its output.
func process(root *tree.Tree, args ...string) (*isolation.Process, *bytes.Buffer) {
	var out bytes.Buffer
	return &isolation.Process{
		Root: root, Args: args, Env: []string{"PATH=/bin"}, Cwd: "/",
		Stdout: &out, Stderr: &out,
	}, &out
}

func (s *suite) run(t *testing.T, c *testCase) {
	if c.needs != nil {
		if why := c.needs(s.limits); why != "" {
			t.Skip(why)
		}
	}
	args := c.args
	if c.script != "" {
		args = []string{"/bin/sh", "-ec", c.script}
	}
	p, out := process(s.tree(t, c), args...)
	if c.edit != nil {
		c.edit(t, p)
	}
	changes, err := s.backend.Run(t.Context(), p)
	if t.Failed() {
		return
	}
	if c.fails != nil {
		if err == nil {
			t.Fatalf("Run succeeded; output:\n%s", out)
		}
		c.fails(t, err)
		return
	}
	if c.code != 0 {
		checkExit(t, err, c.code)
	} else if err != nil {
		t.Fatalf("%v; output:\n%s", err, out)
	}
	checkOutput(t, c, out.String())
	if c.code != 0 {
		if changes != nil {
			t.Error("a failed process has changes")
		}
		return
	}
	if d := diff(Dump(t, changes.Root), c.want); d != "" {
		t.Errorf("changes:%s", d)
	}
	if c.after != nil {
		c.after(t, changes)
	}
	if !c.unlike {
		s.checkMerged(t, p.Root.Push(changes.Root))
	}
}

func checkExit(t *testing.T, err error, code int) {
	t.Helper()
	var exit *isolation.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("error is %v, want exit code %d", err, code)
	}
	if exit.Code != code {
		t.Errorf("exit code is %d, want %d (%v)", exit.Code, code, err)
	}
	if len(exit.Args) == 0 {
		t.Error("the error does not tell the command")
	}
}

func checkOutput(t *testing.T, c *testCase, got string) {
	t.Helper()
	if c.out != "" && got != c.out {
		t.Errorf("output is\n%q, want\n%q", got, c.out)
	}
	for _, part := range c.outHas {
		if !strings.Contains(got, part) {
			t.Errorf("output has no %q:\n%s", part, got)
		}
	}
	for _, part := range c.outNot {
		if strings.Contains(got, part) {
			t.Errorf("output has %q:\n%s", part, got)
		}
	}
}

// checkMerged runs another process over the result and compares every file that it sees with what
// the tree says: the layer that Run returned is the one that the next Run starts from.
func (s *suite) checkMerged(t *testing.T, root *tree.Tree) {
	t.Helper()
	view, err := root.View(t.Context())
	if err != nil {
		t.Fatalf("view of the result: %v", err)
	}
	if _, err := view.Lookup("bin/busybox"); err != nil {
		return // nothing to look with
	}
	p, out := process(root, "/bin/busybox", "find", "/", "-xdev", "-exec", "/bin/busybox", "stat", "-c", "%n|%f|%u:%g|%s|%Y|%t,%T", "{}", "+")
	if _, err := s.backend.Run(t.Context(), p); err != nil {
		t.Fatalf("looking at the result: %v\n%s", err, out)
	}
	var got, want []string
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(strings.TrimPrefix(line, "/"))
		name, rest, _ := strings.Cut(line, "|")
		if !provided(name) && !s.beside(name) {
			got = append(got, name+"|"+withoutDirSize(rest))
		}
	}
	for name, n := range view.Walk("") {
		if !provided(name) {
			want = append(want, name+"|"+statLine(n))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if d := diff(got, want); d != "" {
		t.Errorf("what the next process sees differs from the tree:%s", d)
	}
}

// beside reports whether a path is at or below one that processes see although no tree has it.
func (s *suite) beside(p string) bool {
	return slices.ContainsFunc(s.limits.Beside, func(b string) bool { return p == b || strings.HasPrefix(p, b+"/") })
}

// provided reports whether a path is not the tree's own but the backend's.
func provided(p string) bool {
	switch p {
	case "", "etc/hosts", "etc/resolv.conf":
		return true
	}
	top, _, _ := strings.Cut(p, "/")
	return top == "proc" || top == "sys" || top == "dev"
}

// statLine is what stat -c '%f|%u:%g|%s|%Y|%t,%T' prints of a node.
func statLine(n *tree.Node) string {
	e := n.Entry()
	kinds := map[layer.Type]int{
		layer.Regular: 0o100000, layer.Directory: 0o40000, layer.Symlink: 0o120000,
		layer.CharDevice: 0o20000, layer.BlockDevice: 0o60000, layer.Fifo: 0o10000,
	}
	size, mode := e.Size, e.Mode
	if e.Type == layer.Symlink {
		size, mode = int64(len(e.Link)), 0o777
	}
	return withoutDirSize(fmt.Sprintf("%x|%d:%d|%d|%d|%x,%x",
		kinds[e.Type]|int(mode), e.UID, e.GID, size, e.ModTime.Unix(), e.Major, e.Minor))
}

// withoutDirSize removes the size of a directory, which is the filesystem's affair.
func withoutDirSize(line string) string {
	fields := strings.Split(line, "|")
	if len(fields) > 2 && len(fields[0]) == 4 && fields[0][0] == '4' {
		fields[2] = "-"
	}
	return strings.Join(fields, "|")
}

func noDevices(l Limits) string {
	if l.NoDevices {
		return "device nodes cannot be made in a user namespace"
	}
	return ""
}

// readAll reads a regular file of a layer.
func readAll(t *testing.T, l layer.Layer, p string) string {
	t.Helper()
	r, err := l.Open(t.Context(), p)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}
