package layer

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-build/slipway/pkg/compression"
)

// Form is how a layer is serialised: how compressed, and with which times.
type Form struct {
	Compression compression.Options
	// Epoch cuts off modification times, as [Clamp] does; the zero value leaves them.
	Epoch time.Time
}

// String is "gzip", "zstd:19" or "gzip:6@1700000000": algorithm, level if it is not the default, and the
// epoch in seconds if there is one.
func (f Form) String() string {
	s := f.Compression.Algorithm.String()
	if f.Compression.Level != compression.DefaultLevel {
		s += ":" + strconv.Itoa(f.Compression.Level)
	}
	if !f.Epoch.IsZero() {
		s += "@" + strconv.FormatInt(f.Epoch.Unix(), 10)
	}
	return s
}

// ParseForm reads what String gives.
func ParseForm(s string) (Form, error) {
	var f Form
	fail := func(err error) (Form, error) { return Form{}, fmt.Errorf("form of a layer %q: %w", s, err) }
	rest, epoch, hasEpoch := strings.Cut(s, "@")
	name, level, hasLevel := strings.Cut(rest, ":")
	var err error
	if f.Compression.Algorithm, err = compression.Parse(name); err != nil {
		return fail(err)
	}
	if hasLevel {
		if f.Compression.Level, err = strconv.Atoi(level); err != nil {
			return fail(err)
		}
	}
	if hasEpoch {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return fail(err)
		}
		f.Epoch = time.Unix(seconds, 0).UTC()
	}
	if err := f.Compression.Validate(); err != nil {
		return fail(err)
	}
	return f, nil
}

// Equal reports whether f and o give the same bytes.
func (f Form) Equal(o Form) bool {
	return f.Compression == o.Compression && f.Epoch.Equal(o.Epoch)
}

// of is l with the times that the form asks for.
func (f Form) of(l Layer) Layer {
	if f.Epoch.IsZero() {
		return l
	}
	return Clamp(l, f.Epoch)
}

// Made is implemented by blobs that a build made: their form is a choice that can be made anew, while
// blobs of base images stay as they are.
type Made interface {
	Blob
	Making() Making
}

// Making is how a layer came about.
type Making struct {
	// Created is the time of the build.
	Created time.Time
	Form    Form
}

// IsBase reports whether l is a layer of a base image, which stays as it is.
func IsBase(l Layer) bool {
	_, blob := l.(Blob)
	_, made := l.(Made)
	return blob && !made
}
