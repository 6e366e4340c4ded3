package state

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// spread is into about how many directories a tree is divided that is removed.
const spread = 64

// RemoveTree removes path and everything in it, in several places at once. Unpacked trees may hold directories that
// their owner cannot write, which only matters where we are not root.
func RemoveTree(path string) error {
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, dir := range divide(path) {
		g.Go(func() error {
			_ = os.RemoveAll(dir) // what is left is found below
			return nil
		})
	}
	_ = g.Wait()
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	walkErr := filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chmod(p, 0o700)
		}
		return err
	})
	return errors.Join(walkErr, os.RemoveAll(path))
}

// divide gives directories below path, none in another, which are a whole level of the tree: the first that has
// enough of them, or the last.
func divide(path string) []string {
	level := []string{path}
	for len(level) < spread {
		var next []string
		for _, dir := range level {
			entries, err := os.ReadDir(dir)
			if err != nil {
				continue // it is tried to be removed in any case
			}
			for _, e := range entries {
				if e.IsDir() {
					next = append(next, filepath.Join(dir, e.Name()))
				}
			}
		}
		if len(next) == 0 {
			return level
		}
		level = next
	}
	return level
}
