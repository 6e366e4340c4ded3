package frontend

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/op"
)

// UnsupportedError says that a Dockerfile asks for something that cannot be built.
type UnsupportedError struct {
	What   string // "RUN --device=vendor.com/gpu"
	Reason string // may be empty
}

// Error implements error.
func (e *UnsupportedError) Error() string {
	if e.Reason == "" {
		return e.What + " is not supported"
	}
	return e.What + " is not supported: " + e.Reason
}

// frontendError is an error of BuildKit's frontend in our words.
type frontendError struct {
	message string
	err     error
}

func (e *frontendError) Error() string { return e.message }
func (e *frontendError) Unwrap() error { return e.err }

// convertError gives an error of the frontend its place in the Dockerfile, and takes out of its
// message what only says which way it came. Errors that are ours, and have been through the
// frontend with their place, come out as they went in. file is the Dockerfile, if it
// was read; errors do not always know it.
func convertError(err error, file *sourceFile) error {
	var located *op.LocatedError
	if errors.As(err, &located) {
		return located
	}
	out := clean(err)
	if l, ok := errorLocation(err, file); ok {
		return &op.LocatedError{Location: l, Err: out}
	}
	if l, ok := mountLocation(out, file); ok {
		return &op.LocatedError{Location: l, Err: out}
	}
	return out
}

// mountLocation finds the RUN whose mount is from the image that err begins with: the frontend gives such images no
// place, other than those of FROM and COPY.
func mountLocation(err error, file *sourceFile) (op.Location, bool) {
	if file == nil {
		return op.Location{}, false
	}
	parsed, broken := parser.Parse(bytes.NewReader(file.data))
	if broken != nil {
		return op.Location{}, false // which has an error and a place of its own
	}
	stages, _, broken := instructions.Parse(parsed.AST, nil)
	if broken != nil {
		return op.Location{}, false
	}
	for _, s := range stages {
		for _, cmd := range s.Commands {
			run, ok := cmd.(*instructions.RunCommand)
			if !ok {
				continue
			}
			for _, m := range instructions.GetMounts(run) {
				if m.From != "" && strings.HasPrefix(err.Error(), m.From+": ") {
					return newLocation(file.name, file.data, pbRanges(run.Location()))
				}
			}
		}
	}
	return op.Location{}, false
}

// errorLocation finds the innermost place that err has.
func errorLocation(err error, file *sourceFile) (op.Location, bool) {
	for _, s := range errdefs.Sources(err) {
		if l, ok := newLocation(s.GetInfo().GetFilename(), s.GetInfo().GetData(), s.GetRanges()); ok {
			return l, true
		}
	}
	var le *parser.LocationError
	if file == nil || !errors.As(err, &le) {
		return op.Location{}, false
	}
	for _, ranges := range le.Locations {
		if l, ok := newLocation(file.name, file.data, pbRanges(ranges)); ok {
			return l, true
		}
	}
	return op.Location{}, false
}

func pbRanges(ranges []parser.Range) []*pb.Range {
	out := make([]*pb.Range, len(ranges))
	for i, r := range ranges {
		out[i] = &pb.Range{
			Start: &pb.Position{Line: int32(r.Start.Line)},
			End:   &pb.Position{Line: int32(r.End.Line)},
		}
	}
	return out
}

// noise are the beginnings of messages that tell BuildKit's inner steps. "dockerfile parse error on line" is
// not one: the place says the same, but programs and people look for these words.
var noise = regexp.MustCompile(`^(failed to resolve dockerfile|` +
	`failed to resolve httpcontext|failed to marshal LLB definition|failed to read dockerignore patterns|` +
	`failed to solve|failed with build-arg:BUILDKIT_SYNTAX = [^:]*(:[^ ]*)?): `)

const readingDockerfile = "failed to read dockerfile: "

// endInModifier is what BuildKit says of "${A" without "}": it takes the end of the text for the
// character U+FFFD.
const endInModifier = "unsupported modifier (\uFFFD) in substitution"

// violations is the beginning of the error of a Dockerfile that does not pass the checks it
// asks for; the list of rules behind it is in random order.
const violations = "lint violation found for rules: "

func clean(err error) error {
	msg := strings.Join(strings.Split(strings.TrimSpace(err.Error()), "\n"), " ")
	for {
		loc := noise.FindStringIndex(msg)
		if loc == nil {
			break
		}
		msg = msg[loc[1]:]
	}
	if rest, ok := strings.CutPrefix(msg, readingDockerfile); ok {
		msg = "reading the Dockerfile: " + rest
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) && errors.Is(err, fs.ErrNotExist) {
			msg = fmt.Sprintf("there is no Dockerfile %q", strings.TrimPrefix(pathErr.Path, "/"))
		}
	}
	msg = strings.ReplaceAll(msg, endInModifier, "it ends before the closing brace")
	if list, ok := strings.CutPrefix(msg, violations); ok {
		rules := strings.Split(list, ", ")
		slices.Sort(rules)
		msg = violations + strings.Join(rules, ", ")
	}
	if msg == err.Error() {
		return err
	}
	return &frontendError{message: msg, err: err}
}
