package usage

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// helper is set in the environment of this test's binary when it is the command that is measured.
const helper = "SLIPWAY_TEST_USE_MEMORY"

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(helper)); err == nil {
		use(n)
		return
	}
	m.Run()
}

// use touches n bytes and computes for a while.
func use(n int) {
	data := make([]byte, n)
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		for i := 0; i < n; i += 512 {
			data[i]++
		}
	}
}

func TestMeasure(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("control groups need root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := "slipway-bench-test-" + strconv.Itoa(os.Getpid())
	g, err := New(name, filepath.Base(self))
	if err != nil {
		t.Skipf("no control groups can be made here: %v", err)
	}
	t.Cleanup(func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	const size = 100 << 20
	// In a shell: what children use counts.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `"$0"; :`, self)
	cmd.Env = append(os.Environ(), helper+"="+strconv.Itoa(size))
	u, err := g.Measure(func() error {
		if err := g.Start(cmd); err != nil {
			return err
		}
		return cmd.Wait()
	})
	if err != nil {
		t.Fatal(err)
	}
	if u.Wall < 300*time.Millisecond || u.User < 100*time.Millisecond || u.User+u.System > 10*u.Wall {
		t.Errorf("times are %+v", u)
	}
	if u.Memory < size || u.Memory > 2*size {
		t.Errorf("memory is %d bytes, want a little more than %d", u.Memory, size)
	}
	if u.Own < size || u.Own >= u.Memory { // the shell has some, too
		t.Errorf("the program has %d bytes, all have %d", u.Own, u.Memory)
	}
}

func TestRemoveKills(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("control groups need root")
	}
	g, err := New("slipway-bench-test-kill-" + strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Skipf("no control groups can be made here: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err == nil {
		t.Error("the command ended by itself")
	}
}
