package results

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// transaction writes several files, all or nothing as far as files allow.
type transaction struct {
	stdout, stderr io.Writer
	// prepared is called when nothing is left to do but renaming and writing to what
	// exists already; its error undoes everything. It may be nil.
	prepared func() error

	undo []func() error
}

// write writes the files, or removes what it wrote and says why.
func (t *transaction) write(files []file) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, t.rollBack())
		}
	}()
	commits := make([]func() error, len(files))
	for n, f := range files {
		if commits[n], err = t.prepare(f); err != nil {
			return fmt.Errorf("results: preparing %s: %w", f.path, err)
		}
	}
	if t.prepared != nil {
		if err := t.prepared(); err != nil {
			return fmt.Errorf("results: %w", err)
		}
	}
	// What cannot be taken back comes last.
	for _, streams := range []bool{false, true} {
		for n, f := range files {
			if isStandard(f.path) != streams {
				continue
			}
			if err := commits[n](); err != nil {
				return fmt.Errorf("results: writing %s: %w", f.path, err)
			}
		}
	}
	return nil
}

// probe prepares to write the files, and undoes it.
func (t *transaction) probe(files []file) (err error) {
	defer func() { err = errors.Join(err, t.rollBack()) }()
	for _, f := range files {
		if _, err := t.prepare(f); err != nil {
			return fmt.Errorf("results: preparing %s: %w", f.path, err)
		}
	}
	return nil
}

// rollBack undoes what was done, the latest first.
func (t *transaction) rollBack() error {
	var errs []error
	for n := len(t.undo) - 1; n >= 0; n-- {
		if err := t.undo[n](); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("results: undoing: %w", err))
		}
	}
	return errors.Join(errs...)
}

// prepare does everything that can be done for a file while nobody sees it yet, and returns
// what makes it visible.
func (t *transaction) prepare(f file) (commit func() error, err error) {
	if number, standard := standardFile(f.path); standard {
		w := t.stdout
		if number == 2 {
			w = t.stderr
		}
		return func() error { return writeString(w, f.content) }, nil
	}
	info, err := os.Stat(f.path)
	switch {
	case err == nil && info.IsDir():
		return nil, &fs.PathError{Op: "write", Path: f.path, Err: syscall.EISDIR}
	case err == nil && (!info.Mode().IsRegular() || strings.HasPrefix(f.path, "/dev/")):
		// Pipes and devices cannot be replaced; /dev/termination-log, where Kaniko's
		// users like to have their digest, is a file that is mounted.
		return t.prepareInPlace(f)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	commit, err = t.prepareReplacing(f)
	if err != nil && info != nil && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)) {
		return t.prepareInPlace(f)
	}
	return commit, err
}

// prepareReplacing writes a temporary file beside the one that it shall become.
func (t *transaction) prepareReplacing(f file) (commit func() error, err error) {
	path := f.path
	// The file that a symbolic link names is replaced, not the link.
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		path = resolved
	}
	if err := t.makeDirs(filepath.Dir(path)); err != nil {
		return nil, err
	}
	temp := filepath.Join(filepath.Dir(path), ".slipway-"+rand.Text())
	// Not 0600: Argo's wait container reads the files under another user.
	w, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	t.undo = append(t.undo, func() error { return os.Remove(temp) })
	if err := errors.Join(writeString(w, f.content), w.Close()); err != nil {
		return nil, err
	}
	return func() error {
		err := os.Rename(temp, path)
		if errors.Is(err, syscall.EBUSY) {
			// A file that is mounted keeps its inode, wherever it lies.
			return errors.Join(t.writeInPlace(path, f.content), os.Remove(temp))
		}
		if err == nil {
			t.undo = append(t.undo, func() error { return os.Remove(path) })
		}
		return err
	}, nil
}

// prepareInPlace makes sure that a file that must keep its inode can be written.
func (t *transaction) prepareInPlace(f file) (commit func() error, err error) {
	if info, err := os.Stat(f.path); err == nil && info.Mode().IsRegular() {
		w, err := os.OpenFile(f.path, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		if err := w.Close(); err != nil {
			return nil, err
		}
	}
	return func() error { return t.writeInPlace(f.path, f.content) }, nil
}

// writeInPlace gives an existing file new content.
func (t *transaction) writeInPlace(path, content string) error {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	info, err := w.Stat()
	if err == nil && info.Mode().IsRegular() {
		t.undo = append(t.undo, func() error { return os.Truncate(path, 0) })
	}
	return errors.Join(err, writeString(w, content), w.Close())
}

// makeDirs makes the directories that are missing, as Kaniko does for its digest files.
func (t *transaction) makeDirs(dir string) error {
	var missing []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) || d == filepath.Dir(d) {
			break
		}
		missing = append(missing, d)
	}
	if len(missing) == 0 {
		return nil
	}
	// Undoing goes backwards, so the outermost directory comes first here. One that
	// somebody else uses by then stays.
	for n := len(missing) - 1; n >= 0; n-- {
		t.undo = append(t.undo, func() error {
			if err := os.Remove(missing[n]); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
				return err
			}
			return nil
		})
	}
	return os.MkdirAll(dir, 0o755)
}

// standardFile says whether a path stands for standard output (1) or standard error (2). Those
// are never opened by their name: that would start a file they are redirected to anew.
func standardFile(path string) (number int, ok bool) {
	switch path {
	case "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1":
		return 1, true
	case "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2":
		return 2, true
	}
	return 0, false
}

func isStandard(path string) bool {
	_, ok := standardFile(path)
	return ok
}

// writeString writes all of s.
func writeString(w io.Writer, s string) error {
	_, err := io.WriteString(w, s)
	return err
}
