package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// helper is a program that has logins, as Docker's credential helpers do: it is given the server's name on standard
// input and writes JSON.
type helper struct {
	program string
	logins  sync.Map // *renewed by server
}

// helperName is what can follow "docker-credential-". Above all, it is no path.
var helperName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)

func newHelper(suffix string) (*helper, error) {
	if !helperName.MatchString(suffix) {
		return nil, fmt.Errorf("%q cannot be the name of a credential helper", suffix)
	}
	return &helper{program: "docker-credential-" + suffix}, nil
}

// login is the helper's login for a server.
func (h *helper) login(server string) authn.Authenticator {
	r, _ := h.logins.LoadOrStore(server, &renewed{get: func(ctx context.Context) (login, error) { return h.get(ctx, server) }})
	return r.(*renewed)
}

func (h *helper) get(ctx context.Context, server string) (login, error) {
	cmd := exec.CommandContext(ctx, h.program, "get")
	cmd.Stdin = strings.NewReader(server)
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second // for what the helper started
	err := cmd.Run()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return login{}, fmt.Errorf("the credential helper %s is not in PATH", h.program)
	case err != nil && strings.Contains(out.String(), "credentials not found"): // by the protocol
		return login{}, absent(fmt.Errorf("%s has none", h.program))
	case err != nil:
		return login{}, fmt.Errorf("%s: %w%s", h.program, err, complaint(out.String()))
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		return login{}, fmt.Errorf("%s did not answer as a credential helper does", h.program)
	}
	if answer.Secret == "" {
		return login{}, absent(fmt.Errorf("%s has none", h.program))
	}
	if answer.Username == "<token>" { // by the protocol
		return login{AuthConfig: authn.AuthConfig{IdentityToken: answer.Secret}}, nil
	}
	return login{AuthConfig: authn.AuthConfig{Username: answer.Username, Password: answer.Secret}}, nil
}

// complaint is what a helper that failed wrote: by the protocol its error message, on one line. Anything that looks like
// the answer, which holds the secret, is not shown.
func complaint(out string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(out), "\n")
	const limit = 200
	if line == "" || len(line) > limit || strings.ContainsAny(out, "{}") {
		return ""
	}
	return ": " + line
}
