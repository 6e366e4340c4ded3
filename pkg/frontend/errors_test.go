package frontend

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/op"
)

// Each of these has one mistake; its place and its message are what a user needs to mend it.
func TestErrorPositions(t *testing.T) {
	for _, tt := range []struct {
		dockerfile string
		line       int
		message    string
	}{
		{"FORM busybox\n", 1, "unknown instruction: FORM (did you mean FROM?)"},
		{"FROM busybox\nCOPPY a b\n", 2, "unknown instruction: COPPY (did you mean COPY?)"},
		{"FROM busybox\nRUN true \\\n  && false\n\nNOPE x\n", 5, "unknown instruction: NOPE"},
		{"FROM busybox\r\n\r\nCOPPY a b\r\n", 3, "unknown instruction: COPPY"},
		{"FROM busybox\nRUN --mnt=x true\n", 2, "unknown flag: --mnt (did you mean mount?)"},
		{"FROM busybox\n\nCOPY --form=x a b\n", 3, "unknown flag: --form (did you mean from?)"},
		{"FROM busybox\nCOPY a\n", 2, "COPY requires at least two arguments"},
		{"FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /a /b\n", 3, "biuld: denied (did you mean build?)"},
		{"FROM scratch AS build\nFROM busybox\nRUN true\nRUN --mount=from=biuld,target=/b \\\n  true\n", 4, "biuld: denied (did you mean build?)"},
		{"FROM busyboxx\n", 1, "busyboxx: manifest unknown (did you mean busybox?)"},
		{"FROM busybox\nFROM\n", 2, "FROM requires either one or three arguments"},
		{"\n\nRUN true\n", 3, "no build stage in current context"},
		{"# only a comment\n", 1, "file with no instructions"},
		{"FROM busybox\nENV a\n", 2, "ENV must have two arguments"},
		{"FROM busybox\nENV =b\n", 2, "ENV names can not be blank"},
		{"FROM busybox\nENV A=${B\n", 2, `failed to process "${B": it ends before the closing brace`},
		{"FROM busybox\nWORKDIR ${A:?must be set}\n", 2, "A: must be set"},
		{"FROM busybox\nRUN <<EOT\necho\n", 2, "unterminated heredoc"},
		{"FROM busybox\nCOPY --chmod=999 a /b\n", 2, "invalid chmod parameter: '999'"},
		{"FROM busybox\nCOPY --link --chown=app a b\n", 2, "use numeric uid[:gid] instead"},
		{"FROM busybox\nCOPY https://example.com/a /b\n", 2, "source can't be a URL for COPY"},
		{"FROM busybox\nEXPOSE 99999999\n", 2, "invalid containerPort: 99999999"},
		{"FROM busybox\nRUN --mount=type=cach,target=/x true\n", 2, `unsupported mount type "cach" (did you mean cache?)`},
		{"FROM busybox\nRUN --mount=target=/x,sorce=/y true\n", 2, "unexpected key 'sorce' in 'sorce=/y' (did you mean source?)"},
		{"FROM busybox\nRUN --mount=type=cache true\n", 2, `invalid mount target "/"`},
		{"FROM busybox\nRUN --mount=from=$X,target=/x true\n", 2, "'from' doesn't support variable expansion"},
		{"FROM busybox\nRUN --network=hots true\n", 2, `invalid network mode "hots"`},
		{"FROM busybox\nRUN --security=none true\n", 2, `security "none" is not valid`},
		{"FROM busybox\nHEALTHCHECK --interval=x CMD true\n", 2, `invalid duration "x"`},
		{"FROM busybox\nONBUILD FROM x\n", 2, "FROM isn't allowed as an ONBUILD trigger"},
		{"FROM busybox\nSHELL /bin/sh\n", 2, "SHELL requires the arguments to be in JSON form"},
		{"# escape=x\nFROM busybox\n", 1, "invalid escape token 'x'"},
		{"FROM --platform=nonsense/x/y/z busybox\n", 1, "failed to parse platform nonsense/x/y/z"},
		{"FROM BusyBox\n", 1, "must be lowercase"},
		{"ARG X\nFROM $X\n", 2, "base name ($X) should not be blank"},
		{"# syntax=docker/dockerfile:1\nFROM busybox\nCOPPY a b\n", 3, "unknown instruction: COPPY"},
	} {
		t.Run(tt.message, func(t *testing.T) {
			p := newProject(tt.dockerfile)
			p.images.errs = map[string]error{
				"docker.io/library/busyboxx:latest": errors.New("manifest unknown"),
				"docker.io/library/biuld:latest":    errors.New("denied"),
			}
			_, err := p.build(t.Context())
			wantLocated(t, err, tt.line, tt.message)
			if err == nil {
				return
			}
			for _, noise := range []string{"failed to solve", "dockerfile2llb"} {
				if strings.Contains(err.Error(), noise) {
					t.Errorf("message %q has %q in it", err, noise)
				}
			}
		})
	}
}

func TestErrorsWithoutAPlace(t *testing.T) {
	for name, tt := range map[string]struct {
		edit    func(*project)
		message string
	}{
		"target": {
			func(p *project) { p.opts.Target = "ones" },
			`target stage "ones" could not be found (did you mean one?)`,
		},
		"no Dockerfile": {
			func(p *project) { p.opts.Filename = "sub/other.Dockerfile" },
			`there is no Dockerfile "sub/other.Dockerfile"`,
		},
		"no local source": {
			func(p *project) { delete(p.solver.locals, "dockerfile") },
			`reading the Dockerfile: local source "dockerfile": file does not exist`,
		},
		"a directory": {
			func(p *project) { p.solver.locals["dockerfile"] = files{"Dockerfile/x": ""} },
			"reading the Dockerfile: Dockerfile is not a regular file",
		},
		"empty": {
			func(p *project) { p.solver.locals["dockerfile"]["Dockerfile"] = "" },
			"the Dockerfile cannot be empty",
		},
		"too large": {
			func(p *project) { p.solver.locals["dockerfile"]["Dockerfile"] = strings.Repeat("#", maxRead) },
			"exceeds maximum allowed size",
		},
		"checks": {
			func(p *project) {
				p.solver.locals["dockerfile"]["Dockerfile"] = "# check=error=true\nfrom busybox AS X\nMAINTAINER me\n"
			},
			"lint violation found for rules: ConsistentInstructionCasing, FromAsCasing, MaintainerDeprecated, StageNameCasing",
		},
		"context name": {
			func(p *project) { p.opts.Contexts = map[string]string{"Bad Name": "local:x"} },
			`name of build context "Bad Name"`,
		},
		"context twice": {
			func(p *project) {
				p.opts.Contexts = map[string]string{"alpine": "local:x", "docker.io/library/alpine:latest": "local:y"}
			},
			"is given twice",
		},
		"context kind": {
			func(p *project) { p.opts.Contexts = map[string]string{"busybox": "floppy:a"} },
			"unsupported context source floppy for busybox",
		},
		"platform": {
			func(p *project) { p.opts.Platforms = []op.Platform{{OS: "a b"}} },
			"failed to parse target platform",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProject("FROM busybox AS one\n")
			tt.edit(p)
			_, err := p.build(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
		})
	}
}

// Callers tell kinds of errors apart by what is inside.
func TestErrorsKeepTheirCause(t *testing.T) {
	cause := errors.New("registry is on holiday")
	p := newProject("FROM alpine\nFROM busybox\nRUN true\n")
	p.images.errs = map[string]error{"docker.io/library/busybox:latest": cause}
	_, err := p.build(t.Context())
	wantLocated(t, err, 2, "busybox: registry is on holiday")
	if !errors.Is(err, cause) {
		t.Errorf("the cause is lost in %v", err)
	}

	p = newProject("FROM busybox\n")
	p.solver.err = cause
	if _, err = p.build(t.Context()); !errors.Is(err, cause) {
		t.Errorf("the cause is lost in %v", err)
	}
}

// An error that has its place already, for example from solving, comes out as it is.
func TestLocatedErrorsAreKept(t *testing.T) {
	place := op.Location{Filename: "other", Data: []byte("x\n"), Start: 1, End: 1}
	p := newProject("FROM busybox\n")
	p.solver.err = &op.LocatedError{Location: place, Err: errors.New("boom")}
	_, err := p.build(t.Context())
	if err == nil || err.Error() != "other:1: boom" {
		t.Errorf("error %v", err)
	}
}

func TestCancellation(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := newProject("FROM busybox\n")
	p.solver.err = context.Canceled
	if _, err := p.build(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
