package host

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/tree"
)

// FillCache gives the directory of a cache mount its first content, if it is to have one and is
// empty. It appears at once, so that a build that is interrupted leaves an empty directory for
// the next one to fill. extract writes a view into an empty directory.
func FillCache(ctx context.Context, m *isolation.Mount, extract func(ctx context.Context, v *tree.View, dir string) error) error {
	if m.Tree == nil {
		return nil
	}
	empty, err := isEmpty(m.HostDir)
	if err != nil || !empty {
		return err
	}
	v, err := m.Tree.View(ctx)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(m.HostDir), "filling-")
	if err != nil {
		return err
	}
	err = extract(ctx, v, tmp)
	if err == nil {
		err = unix.Rename(tmp, m.HostDir) // unlike os.Rename, replaces an empty directory
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return nil
}

func isEmpty(dir string) (bool, error) {
	f, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}
