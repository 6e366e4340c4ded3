package build

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/slipway-build/slipway/pkg/git"
)

// GitOptions are about contexts in Kaniko's form, "git://…", and about no others.
type GitOptions struct {
	// Branch is the branch or tag that is built, if the context names none.
	Branch string
	// RecurseSubmodules asks for the submodules, too.
	RecurseSubmodules bool
	// SkipTLSVerify accepts any certificate of the repository's host.
	SkipTLSVerify bool
	// PlainHTTP reads over http instead of https.
	PlainHTTP bool
	// Username and Password, or Token, are credentials for the repository's host.
	Username, Password, Token string
}

// gitContext is a git repository that is the build context.
type gitContext struct {
	// address is the context for the frontend. Of its paths, only those that end in ".git" are repositories to it;
	// remote is the address without what says which part of it is wanted.
	address, remote string
	special         git.Special
	secrets         []string // what must not be logged
}

// parseGit reads Kaniko's form of git repositories, git://[USER[:PASSWORD]|TOKEN@]HOST/PATH[#REF[#COMMIT]]. As with
// BuildKit, a directory may follow the ref behind a colon. Errors do not quote the context, which may have a password.
func parseGit(context string, o *GitOptions) (*gitContext, error) {
	fail := func(format string, args ...any) (*gitContext, error) {
		return nil, fmt.Errorf("build context git://…: "+format, args...)
	}
	parts := strings.Split(strings.TrimPrefix(context, gitScheme), "#")
	if len(parts) > 3 {
		return fail("there is more than a ref and a commit behind the repository")
	}
	scheme := "https"
	if o.PlainHTTP {
		scheme = "http"
	}
	u, err := url.Parse(scheme + "://" + parts[0])
	if err != nil || u.Hostname() == "" || strings.Trim(u.Path, "/") == "" {
		return fail("it is not of the form git://HOST/PATH#REF")
	}
	if u.RawQuery != "" {
		return fail("it has no query; that is for https://HOST/PATH.git")
	}
	g := &gitContext{special: git.Special{SkipTLSVerify: o.SkipTLSVerify}}
	g.authorize(o, u.User)
	u.User, u.Path, u.RawPath = nil, strings.TrimSuffix(u.Path, "/"), ""
	g.special.URL = u.String()

	ref, err := gitRef(append(parts[1:], "", ""), o.Branch)
	if err != nil {
		return fail("%w", err)
	}
	if !strings.HasSuffix(u.Path, ".git") {
		u.Path += ".git"
	}
	g.remote = u.String()
	if !o.RecurseSubmodules {
		u.RawQuery = "submodules=false"
	}
	u.Fragment = ref
	g.address = u.String()
	return g, nil
}

// gitRef is the ref, or commit, with the directory behind it. parts are what stands behind the repository.
func gitRef(parts []string, branch string) (string, error) {
	ref, dir, hasDir := strings.Cut(parts[0], ":")
	commit := parts[1]
	if commit != "" && !isCommit(commit) {
		return "", errors.New("what stands behind the ref is not a commit of 40 hexadecimal digits")
	}
	if ref != "" && branch != "" && branch != ref && "refs/heads/"+branch != ref && commit == "" && !isCommit(ref) {
		return "", fmt.Errorf("it names %s, and --git branch=%s another one", ref, branch)
	}
	switch {
	case commit != "":
		ref = commit
	case ref == "":
		ref = branch
	}
	if hasDir {
		ref += ":" + dir
	}
	return ref, nil
}

func isCommit(s string) bool {
	return len(s) == 40 && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("0123456789abcdefABCDEF", r) })
}

// authorize chooses the credentials as Kaniko does: a token is the user's name, and those of the environment come
// before those of the URL.
func (g *gitContext) authorize(o *GitOptions, user *url.Userinfo) {
	name, password := o.Username, o.Password
	if o.Token != "" {
		name, password = o.Token, ""
	}
	if name == "" && password == "" && user != nil {
		name = user.Username()
		password, _ = user.Password()
	}
	if name == "" && password == "" {
		return
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(name + ":" + password))
	g.special.Authorization = "Basic " + encoded
	g.secrets = append(g.secrets, encoded, password)
	if password == "" {
		g.secrets = append(g.secrets, name)
	}
}
