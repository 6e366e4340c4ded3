package pod

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// RequireToolsEnv names the environment variable that makes the lack of a tool a failure.
const RequireToolsEnv = "SLIPWAY_REQUIRE_TOOLS"

// Require skips a test where no containers can be started: without runc (a failure where
// all tools must be there), or without the privileges of a node's root.
func Require(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath(runc); err != nil {
		if os.Getenv(RequireToolsEnv) != "" {
			t.Fatal("runc is not installed")
		}
		t.Skip("runc is not installed")
	}
	if os.Geteuid() != 0 {
		t.Skip("starting containers as a node does it needs root")
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	if data[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		t.Skip("starting containers as a node does it needs CAP_SYS_ADMIN")
	}
}
