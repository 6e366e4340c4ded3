// Package launch is the builder's side of package supervisor: it starts that process, instructs it and
// waits for what it reports. It is apart because that process is to import little.
package launch

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

	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

// patience is how long the process may take to end everything below it after it was told to,
// before it is killed itself.
const patience = 10 * time.Second

// Options say how the process is started.
type Options struct {
	Name  string              // by which [supervisor.Main] knows that it is one: its argv[0]
	Dir   string              // its working directory
	Attr  syscall.SysProcAttr // Setsid is added
	Files []*os.File          // what it holds open beside its pipes, which the command never gets

	// Started, if set, is called with the process's id while it waits for its instructions.
	Started func(pid int) error

	// Those of the command. Stdin may be nil for an empty one; output without a writer is
	// discarded.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// StartError says that the process could not be started.
type StartError struct{ Err error }

// Error implements error.
func (e *StartError) Error() string {
	return "isolation: starting the parent of the process: " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// onlyWriter hides that a writer is a file: a command must not get the builder's own files, which
// may be a terminal or a log.
type onlyWriter struct{ io.Writer }

// Run starts the process, lets it do what spec says, waits until it has ended and returns its
// report. spec is what the function that was given to [supervisor.Main] gets. When ctx ends first, the
// command and everything that it started is killed, and the cause returned.
func Run(ctx context.Context, spec any, o *Options) (*supervisor.Report, error) {
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

	cmd := o.command()
	cmd.ExtraFiles = append([]*os.File{specR, reportW}, o.Files...) // the first two, in the order that package supervisor knows
	stdin, err := feed(cmd, o.Stdin)
	if err != nil {
		return nil, errors.Join(err, specR.Close(), reportW.Close())
	}
	defer stdin()
	err = cmd.Start()
	if err := errors.Join(specR.Close(), reportW.Close()); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, &StartError{err}
	}
	report, err := o.serve(ctx, cmd, spec, specW, reportR)
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

func (o *Options) command() *exec.Cmd {
	attr := o.Attr
	attr.Setsid = true // the terminal's signals are for the builder, which then cancels
	return &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{o.Name},
		Env: []string{}, // nothing of ours
		Dir: o.Dir, SysProcAttr: &attr,
		Stdout: onlyWriter{orDiscard(o.Stdout)}, Stderr: onlyWriter{orDiscard(o.Stderr)},
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

// serve calls Started and then does what spec says. Without instructions, the process ends.
func (o *Options) serve(ctx context.Context, cmd *exec.Cmd, spec any, to io.WriteCloser, from io.Reader) (*supervisor.Report, error) {
	if o.Started != nil {
		if err := o.Started(cmd.Process.Pid); err != nil {
			return nil, errors.Join(err, to.Close())
		}
	}
	return converse(ctx, cmd, spec, to, from)
}

// converse sends spec and waits for the report. When ctx ends first, the process is told to stop
// and after a while killed.
func converse(ctx context.Context, cmd *exec.Cmd, spec any, to io.WriteCloser, from io.Reader) (*supervisor.Report, error) {
	type answer struct {
		report *supervisor.Report
		err    error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		if err := gob.NewEncoder(to).Encode(spec); err != nil {
			a.err = fmt.Errorf("isolation: instructing the parent of the process: %w", err)
		} else {
			a.report = new(supervisor.Report)
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
