package op_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/op"
)

// BuildKit gives files of an unknown owner to root and says nothing; we say it, once.
func TestUnknownOwnerIsNoted(t *testing.T) {
	owner := &op.Owner{
		User:  &op.Principal{Name: "ngnix", Input: 0},
		Group: &op.Principal{Name: "app", Input: 0},
	}
	mkdir := func(path string, input int) op.FileAction {
		return op.FileAction{Input: input, Secondary: -1, Output: -1, Mkdir: &op.Mkdir{Path: path, Mode: 0o755, Owner: owner}}
	}
	f := op.File{Actions: []op.FileAction{mkdir("/a", 0), mkdir("/b", 1)}}
	f.Actions[1].Output = 0
	var log strings.Builder
	env := environment(t, &backend{}).WithStreams(&log, &log)
	out, err := f.Run(t.Context(), env, []op.Input{input(rootfs(t, nil), "base")})
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "there is no user ngnix"); n != 1 {
		t.Errorf("%d warnings about the user, want one:\n%s", n, log.String())
	}
	if strings.Contains(log.String(), "group") {
		t.Errorf("a warning about a group that exists:\n%s", log.String())
	}
	v, err := out[0].View(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := v.Lookup("/a")
	if err != nil {
		t.Fatal(err)
	}
	if e := n.Entry(); e.UID != 0 || e.GID != 1000 {
		t.Errorf("owner %d:%d, want 0:1000", e.UID, e.GID)
	}
}
