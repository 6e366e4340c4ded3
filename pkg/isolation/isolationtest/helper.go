package isolationtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-build/slipway/pkg/layer"
)

// Helper holds the program testdata/helper: as /bin/helper, setuid as /bin/helper-suid, and with
// a file capability as /bin/helper-cap.
func Helper(tb testing.TB) layer.Layer {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "helper")
	buildHelper(tb, path)
	program, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	suid := File("bin/helper-suid", 0o4755, string(program))
	capable := File("bin/helper-cap", 0o755, string(program))
	capable.Xattrs = map[string]string{"security.capability": netBindService}
	return Layer(tb, Dir("bin", 0o755), File("bin/helper", 0o755, string(program)), suid, capable)
}

// netBindService is the value of security.capability for cap_net_bind_service=ep (struct
// vfs_cap_data, revision 2).
const netBindService = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
