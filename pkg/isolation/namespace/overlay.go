package namespace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/slipway-build/slipway/pkg/isolation/internal/initproc"
)

// Names of directories in that of the backend. Things are mounted on mount points and scratch in
// namespaces of their own, so all processes share them.
const (
	emptyLower = "e" // overlayfs asks for at least one lower directory
	scratch    = "s"
	mountpoint = "m" // and a number
)

// makeOverlay makes the directories of the n-th overlay mount of a process in the directory run,
// where it needs its own. All names are relative to dir.
func makeOverlay(dir, run string, n int) (*initproc.Overlay, error) {
	id := strconv.Itoa(n)
	o := &initproc.Overlay{
		Mountpoint: mountpoint + id,
		Upper:      filepath.Join(run, "u"+id),
		Work:       filepath.Join(run, "w"+id),
	}
	for _, name := range []string{o.Mountpoint, o.Upper, o.Work} {
		err := os.Mkdir(filepath.Join(dir, name), 0o755)
		if err != nil && (name != o.Mountpoint || !errors.Is(err, fs.ErrExist)) {
			return nil, fmt.Errorf("isolation: %w", err)
		}
	}
	return o, nil
}
