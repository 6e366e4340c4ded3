package swap

import (
	"errors"
	"fmt"
	"os"
)

// Litter announces that the caller will make something at the absolute path, on a filesystem
// other than the root's, which Undo is to remove with everything in it.
func (s *Swap) Litter(path string) error {
	s.now.Litter = append(s.now.Litter, path)
	return s.write(s.now)
}

// Overwrite replaces the content of a file of the pod that stays, until Undo. It is written in
// place, because it may be a mount point.
func (s *Swap) Overwrite(path string, data []byte) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if s.now.Files == nil {
		s.now.Files = map[string][]byte{}
	}
	s.now.Files[path] = old
	if err := s.write(s.now); err != nil {
		return err
	}
	return rewrite(path, data)
}

// Overwritten gives the content that a file had before Overwrite, if it was called for it.
func (s *Swap) Overwritten(path string) ([]byte, bool) {
	data, ok := s.now.Files[path]
	return data, ok
}

func rewrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// cleanUp puts files back that were overwritten and removes litter.
func (s *Swap) cleanUp() error {
	for path, data := range s.now.Files {
		if err := s.before("restoring " + path); err != nil {
			return err
		}
		if err := rewrite(path, data); err != nil {
			return fmt.Errorf("restoring %s: %w", path, err)
		}
	}
	for _, path := range s.now.Litter {
		if err := s.before("removing " + path); err != nil {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	return nil
}
