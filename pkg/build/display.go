package build

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/progress"
	"github.com/slipway-build/slipway/pkg/telemetry"
)

// show opens what tells the user, and Argo, how far the build is.
func (s *session) show() (err error) {
	if s.display, err = progress.New(s.ProgressTo, s.Progress, s.secrets.Values()); err != nil {
		return &UsageError{err}
	}
	s.closers = append(s.closers, s.display.Close)
	if s.meter, err = progress.NewMeter(s.ProgressFile); err != nil {
		return err
	}
	s.closers = append(s.closers, s.meter.Close)
	return nil
}

// startTrace starts to tell a collector, if the environment names one.
func (s *session) startTrace(ctx context.Context) (err error) {
	s.trace, err = telemetry.New(ctx, telemetry.Options{
		Env: os.Getenv, Version: s.Registry.UserAgent,
		Mask: func(text string) string { return progress.Mask(text, s.secrets.Values()) },
	})
	if err != nil {
		return &UsageError{err}
	}
	s.closers = append(s.closers, func() error {
		if err := s.trace.Close(); err != nil {
			s.note(err.Error())
		}
		return nil
	})
	return nil
}

// warn shows what the Dockerfile checks found.
func (s *session) warn(w frontend.Warning) {
	out := progress.Warning{Level: w.Level, Short: w.Message, URL: w.URL}
	if w.Rule != "" {
		out.Short = w.Rule + ": " + w.Message
	}
	if w.Detail != "" {
		out.Detail = strings.Split(w.Detail, "\n")
	}
	if w.Location != nil {
		out.Location = *w.Location
		out.Short += fmt.Sprintf(" (line %d)", w.Location.Start)
	}
	s.display.Warn(out)
}

// stdout is where a build writes what it was asked for; nowhere, if there is no such place.
func (s *session) stdout() io.Writer {
	if s.Stdout == nil {
		return io.Discard
	}
	return s.Stdout
}
