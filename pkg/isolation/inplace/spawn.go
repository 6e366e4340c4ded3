package inplace

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/pkg/isolation/inplace/internal/child"
)

// patience is how long the parent of the process may take to end everything below it
// after it was told to, before it is killed itself.
const patience = 10 * time.Second

// streams are those of the process.
type streams struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

// onlyWriter hides that a writer is a file: a process must not get the builder's own files, which
// may be a terminal or a log.
type onlyWriter struct{ io.Writer }

// spawn starts the process that runs the command, lets it do what spec says and returns its
// report.
func spawn(ctx context.Context, spec *child.Spec, lock *os.File, io streams) (*child.Report, error) {
	specR, specW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	defer specW.Close()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("isolation: %w", err), specR.Close())
	}
	defer reportR.Close()

	cmd := command(io)
	// child.SpecFD, child.ReportFD, and the lock, so that nobody takes the root while processes of
	// a builder that was killed are still in it.
	cmd.ExtraFiles = []*os.File{specR, reportW, lock}
	stdin, err := feed(cmd, io.stdin)
	if err != nil {
		return nil, errors.Join(err, specR.Close(), reportW.Close())
	}
	defer stdin()
	err = cmd.Start()
	if err := errors.Join(specR.Close(), reportW.Close()); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("isolation: starting the parent of the process: %w", err)
	}
	report, err := converse(ctx, cmd, spec, specW, reportR)
	waitErr := cmd.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	var exit *exec.ExitError
	if waitErr != nil && !errors.As(waitErr, &exit) && err == nil {
		err = fmt.Errorf("isolation: copying the output: %w", waitErr)
	}
	if err != nil {
		return nil, errors.Join(err, waitErr)
	}
	return report, nil
}

func command(io streams) *exec.Cmd {
	return &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{child.Name},
		Env: []string{}, // nothing of ours
		Dir: "/",
		// The terminal's signals are for the builder, which then cancels.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		Stdout:      onlyWriter{orDiscard(io.stdout)}, Stderr: onlyWriter{orDiscard(io.stderr)},
		WaitDelay: patience,
	}
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// feed connects the process's standard input to r. A reader that has nothing to give when the
// process ends is left waiting: nothing else can be done with an io.Reader.
func feed(cmd *exec.Cmd, r io.Reader) (done func(), err error) {
	if r == nil {
		return func() {}, nil // the null device
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("isolation: %w", err)
	}
	cmd.Stdin = pr
	go func() {
		_, _ = io.Copy(pw, r) // the process need not read it all
		_ = pw.Close()
	}()
	return func() {
		_ = pr.Close()
		_ = pw.Close()
	}, nil
}

// converse sends spec and waits for the report. When ctx ends first, the process is told to stop
// and after a while killed.
func converse(ctx context.Context, cmd *exec.Cmd, spec *child.Spec, to io.WriteCloser, from io.Reader) (*child.Report, error) {
	type answer struct {
		report *child.Report
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		if err := gob.NewEncoder(to).Encode(spec); err != nil {
			a.err = fmt.Errorf("isolation: instructing the parent of the process: %w", err)
		} else {
			a.report = new(child.Report)
			if err := gob.NewDecoder(from).Decode(a.report); err != nil {
				a.err = fmt.Errorf("isolation: the parent of the process did not report: %w", err)
			}
		}
		answers <- a
	}()
	select {
	case a := <-answers:
		return a.report, a.err
	case <-ctx.Done():
	}
	_ = to.Close() // the sign to stop
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	a := <-answers
	return a.report, a.err
}
