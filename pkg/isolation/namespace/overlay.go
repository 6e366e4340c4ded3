package namespace

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/slipway-build/slipway/pkg/isolation/namespace/internal/initproc"
)

// emptyLower is the name of an empty directory: overlayfs asks for one lower directory.
const emptyLower = "e"

// makeOverlay makes the directories of the n-th overlay mount of a process, in the directory run
// below dir. Their names are relative to dir.
func makeOverlay(dir, run string, n int) (*initproc.Overlay, error) {
	id := strconv.Itoa(n)
	o := &initproc.Overlay{
		Mountpoint: filepath.Join(run, "m"+id),
		Upper:      filepath.Join(run, "u"+id),
		Work:       filepath.Join(run, "w"+id),
	}
	for _, name := range []string{o.Mountpoint, o.Upper, o.Work} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return nil, fmt.Errorf("isolation: %w", err)
		}
	}
	return o, nil
}
