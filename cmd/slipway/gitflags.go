package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/build"
)

// gitFlag is Kaniko's flag about contexts that are git repositories.
const gitFlag = "git"

// gitOptions are those of contexts in Kaniko's form, git://…, with what a user should know of them: from --git, as
// NAME=VALUE[,NAME=VALUE], and from the variables that Kaniko reads.
func gitOptions(c *cli.Context, context string, env func(string) string) (o build.GitOptions, notices []string, err error) {
	o = build.GitOptions{Username: env("GIT_USERNAME"), Password: env("GIT_PASSWORD"), Token: env("GIT_TOKEN")}
	if method := env("GIT_PULL_METHOD"); method != "" {
		o.PlainHTTP = method == "http"
		if method != "http" && method != "https" {
			notices = append(notices, fmt.Sprintf("GIT_PULL_METHOD: %q is neither https nor http; it is https", method))
		}
	}
	for _, pair := range splitCommas(c.StringSlice(gitFlag)) {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return o, nil, fmt.Errorf("--git %q is not of the form NAME=VALUE", pair)
		}
		notice, err := setGitOption(&o, name, value)
		if err != nil {
			return o, nil, err
		}
		if notice != "" {
			notices = append(notices, fmt.Sprintf("--git %s has no effect: %s", name, notice))
		}
	}
	if c.IsSet(gitFlag) && !strings.HasPrefix(context, "git://") {
		notices = append(notices, "--git has no effect: it is about contexts git://…; others say all in their URLs")
	}
	return o, notices, nil
}

// setGitOption sets one option of --git; the notice says why it is not needed.
func setGitOption(o *build.GitOptions, name, value string) (notice string, err error) {
	on := func(to *bool) {
		if *to, err = strconv.ParseBool(value); err != nil {
			err = fmt.Errorf("--git %s: %q is neither true nor false", name, value)
		}
	}
	const oneCommit = "one commit is fetched, and no more where the server allows that"
	switch name {
	case "branch":
		o.Branch = value
	case "recurse-submodules":
		on(&o.RecurseSubmodules)
	case "insecure-skip-tls":
		on(&o.SkipTLSVerify)
	case "single-branch":
		var ignored bool
		on(&ignored)
		notice = oneCommit
	case "depth":
		if _, err = strconv.ParseUint(value, 10, 31); err != nil {
			err = fmt.Errorf("--git depth: %q is not a number of commits", value)
		}
		notice = oneCommit
	default:
		err = fmt.Errorf("--git %s is unknown: there are branch, single-branch, recurse-submodules, insecure-skip-tls and depth", name)
	}
	return notice, err
}
