package build

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/output"
)

// target is one output and what it asks of the image.
type target struct {
	output  output.Output
	options image.Options
	pushes  bool
}

// configs says where the image goes. Tags are pushed unless that is forbidden, as with Kaniko; where
// there is an --output, only if it or --push says so, as with docker buildx.
func (o *Options) configs() ([]*output.Config, error) {
	var all []*output.Config
	push := len(o.Tags) > 0 && !o.NoPush && (o.Push || len(o.Outputs) == 0)
	for _, s := range o.Outputs {
		c, err := output.Parse(s)
		if err != nil {
			return nil, err
		}
		if c.Type == output.TypeRegistry {
			if o.NoPush {
				return nil, fmt.Errorf("--output %q contradicts --no-push", s)
			}
			push = push && len(c.Names) > 0 // it pushes the tags itself
		}
		all = append(all, c)
	}
	if push {
		all = append(all, &output.Config{Type: output.TypeRegistry})
	}
	if o.TarPath != "" {
		all = append(all, &output.Config{Type: output.TypeDocker, Dest: o.TarPath})
	}
	if o.OCILayoutPath != "" {
		all = append(all, &output.Config{Type: output.TypeOCI, Dest: o.OCILayoutPath, Directory: true})
	}
	if len(all) == 0 && !o.NoPush && !o.Check {
		return nil, errors.New("the image would go nowhere: give --tag, --output, --tar-path or --oci-layout-path, or --no-push to only try the build")
	}
	return all, nil
}

// targets makes the outputs; it finds out what is wrong with them before anything is built.
func (s *session) targets(configs []*output.Config) ([]target, error) {
	var all []target
	for _, c := range configs {
		out, err := output.New(c, s.client, s.Stdout, s.Tags)
		if err != nil {
			return nil, err
		}
		names := c.Names
		if len(names) == 0 {
			names = s.Tags
		}
		s.names = append(s.names, names...)
		all = append(all, target{output: out, options: merged(s.plan.image, c.Image), pushes: c.Type == output.TypeRegistry})
	}
	return all, nil
}

// checkOutputs begins to find out whether the outputs will take the image. If one will not, the context that it returns ends, and
// with it the build. checked must be called with the build's error at its end, and gives the reason in its place then.
func (s *session) checkOutputs(ctx context.Context) (_ context.Context, checked func(error) error) {
	ctx, stop := context.WithCancelCause(ctx)
	var asked sync.WaitGroup
	for _, t := range s.outputs {
		c, ok := t.output.(output.Checker)
		if !ok || s.SkipPushCheck || s.Check {
			continue
		}
		asked.Go(func() {
			if err := c.Check(ctx); err != nil {
				stop(&refusedError{err})
			}
		})
	}
	return ctx, func(err error) error {
		var refused *refusedError
		if errors.As(context.Cause(ctx), &refused) && err != nil {
			err = refused.err
		}
		stop(nil) // nobody asks any more
		asked.Wait()
		return err
	}
}

// refusedError says that an output will not take the image.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// merged gives the options of an output: its own where it has any, else the build's.
func merged(general, own image.Options) image.Options {
	if own.Compression != (compression.Options{}) {
		general.Compression = own.Compression
	}
	general.Annotations = append(append([]image.Annotation(nil), general.Annotations...), own.Annotations...)
	if own.OwnEpoch {
		general.Epoch, general.OwnEpoch = own.Epoch, true
	}
	general.Docker = general.Docker || own.Docker
	general.KeepLayerTimes = general.KeepLayerTimes || own.KeepLayerTimes
	general.KeepForeign = general.KeepForeign || own.KeepForeign
	return general
}

// export writes all outputs, or none. Outputs that ask for the same image share it. The image of
// the result is the first one that was pushed, if there is any.
func (s *session) export(ctx context.Context, assemble func(context.Context, image.Options) (*image.Built, error)) (*Result, error) {
	made := map[string]*image.Built{}
	get := func(o image.Options) (*image.Built, error) {
		key, err := json.Marshal(o)
		if err != nil {
			return nil, err
		}
		if b, ok := made[string(key)]; ok {
			return b, nil
		}
		b, err := assemble(ctx, o)
		made[string(key)] = b
		return b, err
	}
	var (
		jobs   []output.Job
		names  []string
		main   *image.Built
		pushed bool
	)
	for _, t := range s.outputs {
		b, err := get(t.options)
		if err != nil {
			return nil, err
		}
		if main == nil || (t.pushes && !pushed) {
			main, pushed = b, t.pushes
		}
		jobs = append(jobs, output.Job{Output: t.output, Image: b})
		names = append(names, t.output.String())
	}
	if main == nil { // --no-push alone: the image is made to see that it can be
		b, err := get(s.plan.image)
		return &Result{Image: b}, err
	}
	var written []*output.Result
	err := s.display.Step(ctx, strings.Join(names, "; "), func(ctx context.Context, log io.Writer) error {
		var err error
		if written, err = output.Write(ctx, jobs...); err != nil {
			return err
		}
		return logWritten(log, written)
	})
	return &Result{Image: main, Pushed: pushedAs(main, written)}, err
}

// pushedAs lists the references that name the image in their registries now.
func pushedAs(b *image.Built, written []*output.Result) []string {
	var refs []string
	for _, r := range written {
		for _, p := range r.Pushed {
			if p.Digest == b.Digest() {
				refs = append(refs, p.Ref)
			}
		}
	}
	return refs
}

// logWritten says what the outputs wrote.
func logWritten(log io.Writer, written []*output.Result) error {
	for _, r := range written {
		lines := r.Notes
		for _, p := range r.Pushed {
			lines = append(lines, fmt.Sprintf("pushed %s@%s", p.Ref, p.Digest))
		}
		if r.Path != "" {
			lines = append(lines, "wrote "+r.Path)
		}
		for _, l := range lines {
			if _, err := fmt.Fprintln(log, l); err != nil {
				return err
			}
		}
	}
	return nil
}
