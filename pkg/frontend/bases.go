package frontend

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"

	"github.com/slipway-build/slipway/pkg/op"
)

// Base is an image that a Dockerfile names: a stage begins with it, copies from it or mounts it.
type Base struct {
	Image    string
	Platform op.Platform
}

// Bases lists the images that a Dockerfile names in FROM, COPY --from and RUN --mount=from, in their order and each
// once, whether a target needs them or not; other stages are none, and neither is scratch. args are build arguments,
// and build and target the platforms that variables in FROM stand for.
func Bases(filename string, dockerfile []byte, args map[string]string, build, target op.Platform) ([]Base, error) {
	bases, err := findBases(dockerfile, args, build, target)
	if err != nil {
		return nil, convertError(err, &sourceFile{name: filename, data: dockerfile})
	}
	return bases, nil
}

func findBases(dockerfile []byte, args map[string]string, build, target op.Platform) ([]Base, error) {
	parsed, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return nil, err
	}
	stages, global, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil, err
	}
	if len(stages) == 0 {
		return nil, errors.New("the Dockerfile has no stages")
	}
	x := &expander{lex: shell.NewLex(parsed.EscapeToken), values: platformArgs(build, target, stages)}
	if err := x.declare(global, args); err != nil {
		return nil, err
	}
	var bases []Base
	add := func(b Base) {
		same := func(o Base) bool { return o.Image == b.Image && o.Platform.String() == b.Platform.String() }
		if !slices.ContainsFunc(bases, same) {
			bases = append(bases, b)
		}
	}
	// FROM means a stage only if that is an earlier one.
	earlier, all := map[string]bool{"scratch": true}, stageNames(stages)
	for _, s := range stages {
		b, err := x.base(s, target)
		if err != nil {
			return nil, parser.WithLocation(err, s.Location)
		}
		if !earlier[b.Image] {
			add(b)
		}
		if s.Name != "" {
			earlier[s.Name] = true
		}
		for _, from := range sources(s) {
			if !all[strings.ToLower(from)] {
				add(Base{from, target})
			}
		}
	}
	return bases, nil
}

// stageNames are the words that COPY --from and mounts know stages by, in lower case, and scratch.
func stageNames(stages []instructions.Stage) map[string]bool {
	names := map[string]bool{"scratch": true}
	for _, s := range stages {
		if s.Name != "" {
			names[strings.ToLower(s.Name)] = true
		}
	}
	return names
}

// sources are what the instructions of a stage take files from by name: stages and images. COPY knows stages by number, too.
func sources(s instructions.Stage) []string {
	var all []string
	for _, cmd := range s.Commands {
		switch cmd := cmd.(type) {
		case *instructions.CopyCommand:
			if _, err := strconv.Atoi(cmd.From); err != nil && cmd.From != "" {
				all = append(all, cmd.From)
			}
		case *instructions.RunCommand:
			for _, m := range instructions.GetMounts(cmd) {
				if m.From != "" {
					all = append(all, m.From)
				}
			}
		}
	}
	return all
}

// platformArgs are the variables that FROM knows without an ARG.
func platformArgs(build, target op.Platform, stages []instructions.Stage) map[string]string {
	stage := stages[len(stages)-1].Name
	if stage == "" {
		stage = "default"
	}
	return map[string]string{
		"BUILDPLATFORM": platforms.Format(build.OCI()), "BUILDOS": build.OS, "BUILDOSVERSION": build.OSVersion,
		"BUILDARCH": build.Architecture, "BUILDVARIANT": build.Variant,
		"TARGETPLATFORM": platforms.FormatAll(target.OCI()), "TARGETOS": target.OS, "TARGETOSVERSION": target.OSVersion,
		"TARGETARCH": target.Architecture, "TARGETVARIANT": target.Variant, "TARGETSTAGE": stage,
	}
}

// expander replaces variables in FROM. It is the environment of its lexer.
type expander struct {
	lex    *shell.Lex
	values map[string]string
}

// Get implements shell.EnvGetter.
func (x *expander) Get(key string) (string, bool) {
	v, ok := x.values[key]
	return v, ok
}

// Keys implements shell.EnvGetter.
func (x *expander) Keys() []string {
	var keys []string
	for k := range x.values {
		keys = append(keys, k)
	}
	return keys
}

// declare makes the arguments known that are declared before the first FROM. Those of platforms can be given without.
func (x *expander) declare(global []instructions.ArgCommand, args map[string]string) error {
	for k := range x.values {
		if v, ok := args[k]; ok {
			x.values[k] = v
		}
	}
	for _, cmd := range global {
		for _, a := range cmd.Args {
			if v, ok := args[a.Key]; ok {
				x.values[a.Key] = v
				continue
			}
			if a.Value == nil {
				continue
			}
			v, _, err := x.lex.ProcessWord(*a.Value, x)
			if err != nil {
				return parser.WithLocation(err, cmd.Location())
			}
			x.values[a.Key] = v
		}
	}
	return nil
}

// base is what a stage begins with.
func (x *expander) base(s instructions.Stage, target op.Platform) (Base, error) {
	image, _, err := x.lex.ProcessWord(s.BaseName, x)
	if err != nil {
		return Base{}, err
	}
	if image == "" {
		return Base{}, fmt.Errorf("FROM %s names no image: give its variable a value with --build-arg", s.BaseName)
	}
	if s.Platform == "" {
		return Base{image, target}, nil
	}
	word, _, err := x.lex.ProcessWord(s.Platform, x)
	if err != nil {
		return Base{}, err
	}
	p, err := platforms.Parse(word)
	if err != nil {
		return Base{}, fmt.Errorf("platform %q: %w", word, err)
	}
	return Base{image, fromOCI(platforms.Normalize(p))}, nil
}
