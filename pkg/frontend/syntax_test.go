package frontend

import (
	"slices"
	"strings"
	"testing"
)

func TestSyntaxLineOfTheBuiltInFrontend(t *testing.T) {
	for _, line := range []string{
		"# syntax=docker/dockerfile",
		"# syntax=docker/dockerfile:1",
		"#syntax = docker/dockerfile:1.28.0",
		"# syntax=docker/dockerfile:1.7-labs",
		"# syntax=docker.io/docker/dockerfile:1@sha256:" + strings.Repeat("a", 64),
		"# syntax=docker/dockerfile-upstream:master",
		"# syntax=registry.example.com:5000/docker/dockerfile:1",
		"# syntax=registry.example.com/proxy/docker.io/docker/dockerfile:1",
		"// syntax=docker/dockerfile:1",
		"#!/usr/bin/env build\n# syntax=docker/dockerfile:1",
		"# syntax=docker/dockerfile:1 --some words",
	} {
		t.Run(line, func(t *testing.T) {
			text := line + "\nFROM busybox\nRUN echo built\n"
			if strings.HasPrefix(line, "//") || strings.HasPrefix(line, "#!") {
				// The Dockerfile parser itself knows only its own comments; what counts
				// is that the line is found and leads back here.
				p := newProject(text)
				_, err := p.build(t.Context())
				if err != nil && strings.Contains(err.Error(), "not supported") {
					t.Errorf("refused: %v", err)
				}
				return
			}
			p := newProject(text)
			if e := rootExec(t, p); !slices.Contains(e.Args, "echo built") {
				t.Errorf("built %q", e.Args)
			}
			if len(p.warnings) > 0 {
				t.Errorf("warnings %+v", p.warnings)
			}
		})
	}
}

func TestSyntaxLineOfAnotherFrontendIsRefused(t *testing.T) {
	for line, at := range map[string]int{
		"# syntax=docker/buildfile:1":               1,
		"# syntax=example.com/dockerfile":           1,
		"# syntax=notdocker/dockerfile:1":           1,
		"# escape=`\n# syntax=tonistiigi/dalec:1":   2,
		"# syntax=example.com/xdocker/dockerfile:1": 1,
		"// syntax=example.com/frontend":            1,
		`{"syntax": "example.com/frontend"}`:        1,
	} {
		t.Run(line, func(t *testing.T) {
			text := line + "\nFROM busybox\n"
			if strings.HasPrefix(line, "{") {
				text = line
			}
			wantRefused(t, newProject(text), at, "only docker/dockerfile is built in")
		})
	}
}

func TestNewerSyntaxIsWarnedOf(t *testing.T) {
	for tag, want := range map[string]bool{
		"1": false, "1.0": false, "1.28": false, "1.28.3-labs": false, "master": false, "labs": false,
		"1.29": true, "2": true, "2.0": true,
	} {
		p := newProject("# syntax=docker/dockerfile:" + tag + "\nFROM busybox\n")
		p.mustBuild(t)
		if got := len(p.warnings) == 1 && p.warnings[0].Rule == "SyntaxVersion"; got != want {
			t.Errorf("%s: warnings %+v", tag, p.warnings)
		}
	}
}

func TestSyntaxBuildArg(t *testing.T) {
	p := newProject("FROM busybox\nRUN true\n")
	p.opts.BuildArgs = map[string]string{"BUILDKIT_SYNTAX": "mirror.example.com/docker/dockerfile:1"}
	rootExec(t, p)

	p.opts.BuildArgs["BUILDKIT_SYNTAX"] = "example.com/other:1"
	_, err := p.build(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "the frontend example.com/other:1 is not supported") {
		t.Errorf("error %v", err)
	}
}
