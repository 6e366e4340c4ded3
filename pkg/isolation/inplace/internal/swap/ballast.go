package swap

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ballastSize is far more than what Undo writes: the journal once, and entries of directories.
const ballastSize = 1 << 20

func (s *Swap) ballastPath() string { return s.inStore("ballast") }

// takeBallast reserves disk space for Undo, in a file: a process that fills the disk must not
// keep the pod's own files from coming back.
func (s *Swap) takeBallast() error {
	if err := s.before("taking ballast"); err != nil {
		return err
	}
	f, err := os.OpenFile(s.ballastPath(), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, ballastSize)
	if errors.Is(err, unix.EOPNOTSUPP) {
		_, err = f.Write(make([]byte, ballastSize))
	}
	if err != nil {
		err = fmt.Errorf("reserving %d bytes in %s: %w", ballastSize, s.store, err)
	}
	return errors.Join(err, f.Close())
}

// dropBallast gives the space free, if that has not been done.
func (s *Swap) dropBallast() error {
	if err := s.before("dropping ballast"); err != nil {
		return err
	}
	if err := os.Remove(s.ballastPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
