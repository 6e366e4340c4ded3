package main

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/build"
)

func TestGitOptions(t *testing.T) {
	for name, c := range map[string]struct {
		env     map[string]string
		args    []string
		want    build.GitOptions
		notices string // what they have, separated by |
		err     string
	}{
		"nothing":         {args: []string{"git://h/r"}},
		"variables":       {env: map[string]string{"GIT_TOKEN": "t", "GIT_USERNAME": "u", "GIT_PASSWORD": "p"}, args: []string{"git://h/r"}, want: build.GitOptions{Token: "t", Username: "u", Password: "p"}},
		"http":            {env: map[string]string{"GIT_PULL_METHOD": "http"}, args: []string{"git://h/r"}, want: build.GitOptions{PlainHTTP: true}},
		"https":           {env: map[string]string{"GIT_PULL_METHOD": "https"}, args: []string{"git://h/r"}},
		"another method":  {env: map[string]string{"GIT_PULL_METHOD": "ssh"}, args: []string{"git://h/r"}, notices: `"ssh" is neither https nor http`},
		"several in one":  {args: []string{"--git=branch=b,recurse-submodules=true", "git://h/r"}, want: build.GitOptions{Branch: "b", RecurseSubmodules: true}},
		"repeated":        {args: []string{"--git", "branch=b", "--git", "insecure-skip-tls=true", "git://h/r"}, want: build.GitOptions{Branch: "b", SkipTLSVerify: true}},
		"not needed":      {args: []string{"--git=single-branch=true,depth=1", "git://h/r"}, notices: "--git single-branch has no effect|--git depth has no effect"},
		"another context": {args: []string{"--git=branch=b", "https://h/r.git"}, want: build.GitOptions{Branch: "b"}, notices: "--git has no effect"},
		"unknown":         {args: []string{"--git=brunch=b"}, err: "--git brunch is unknown: there are branch"},
		"no value":        {args: []string{"--git=branch"}, err: "not of the form NAME=VALUE"},
		"no truth":        {args: []string{"--git=recurse-submodules=maybe"}, err: "neither true nor false"},
		"no number":       {args: []string{"--git=depth=deep"}, err: "not a number of commits"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"GIT_TOKEN", "GIT_USERNAME", "GIT_PASSWORD", "GIT_PULL_METHOD"} {
				t.Setenv(v, c.env[v])
			}
			o, err := options(t, c.args...)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			want := strings.FieldsFunc(c.notices, func(r rune) bool { return r == '|' })
			if o.Git != c.want || len(o.Notices) != len(want) {
				t.Fatalf("got %+v, %q", o.Git, o.Notices)
			}
			for i := range want {
				if !strings.Contains(o.Notices[i], want[i]) {
					t.Errorf("notice %q, want %q", o.Notices[i], want[i])
				}
			}
		})
	}
}
