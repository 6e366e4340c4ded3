package output

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// file is a file that appears complete or not at all, or the standard output.
type file struct {
	dest   string
	stdout io.Writer
}

const standardOutput = "-"

// prepare has write fill a temporary file beside the destination. What goes to the standard
// output cannot be taken back, so it is written at Commit.
func (f file) prepare(ctx context.Context, write func(context.Context, io.Writer) error) (Pending, error) {
	if f.dest == standardOutput {
		return &pendingStream{f.stdout, write}, nil
	}
	if info, err := os.Stat(f.dest); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a directory: name a file (or use type=local, or tar=false for a layout)", f.dest)
	}
	made, err := makeDirs(filepath.Dir(f.dest))
	if err != nil {
		return nil, err
	}
	tmp, err := os.OpenFile(tempName(f.dest), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, errors.Join(err, removeDirs(made))
	}
	p := &pendingFile{dest: f.dest, tmp: tmp, made: made}
	if err := p.fill(ctx, write); err != nil {
		return nil, errors.Join(err, p.Abort())
	}
	return p, nil
}

// tempName is a name beside p that nobody uses. Unlike with os.CreateTemp, the mode of what is
// made there can be the usual one.
func tempName(p string) string {
	return filepath.Join(filepath.Dir(p), ".slipway-"+rand.Text())
}

type pendingFile struct {
	dest string
	tmp  *os.File
	made []string
}

func (p *pendingFile) fill(ctx context.Context, write func(context.Context, io.Writer) error) error {
	buf := bufio.NewWriterSize(p.tmp, 256<<10)
	if err := write(ctx, buf); err != nil {
		return err
	}
	return buf.Flush()
}

// Commit implements Pending.
func (p *pendingFile) Commit(context.Context) (*Result, error) {
	if err := errors.Join(p.tmp.Close(), os.Rename(p.tmp.Name(), p.dest)); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return &Result{Path: p.dest}, nil
}

// Abort implements Pending.
func (p *pendingFile) Abort() error { return errors.Join(p.tmp.Close(), p.remove()) }

func (p *pendingFile) remove() error {
	err := os.Remove(p.tmp.Name())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, removeDirs(p.made))
}

// pendingStream is something to be written to the standard output.
type pendingStream struct {
	w     io.Writer
	write func(context.Context, io.Writer) error
}

// Commit implements Pending.
func (p *pendingStream) Commit(ctx context.Context) (*Result, error) {
	buf := bufio.NewWriterSize(p.w, 256<<10)
	if err := errors.Join(p.write(ctx, buf), buf.Flush()); err != nil {
		return nil, err
	}
	return &Result{Path: standardOutput}, nil
}

// Abort implements Pending.
func (p *pendingStream) Abort() error { return nil }

// makeDirs is os.MkdirAll that returns what it made, outermost first.
func makeDirs(dir string) ([]string, error) {
	var missing []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || d == filepath.Dir(d) {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing = append([]string{d}, missing...)
	}
	for i, d := range missing {
		if err := os.Mkdir(d, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, errors.Join(err, removeDirs(missing[:i]))
		}
	}
	return missing, nil
}

// removeDirs undoes makeDirs, as far as nobody else has put something there.
func removeDirs(made []string) error {
	for i := len(made) - 1; i >= 0; i-- {
		if err := os.Remove(made[i]); err != nil {
			return nil //nolint:nilerr // somebody uses it now, so it is not ours to remove
		}
	}
	return nil
}
