package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

// The flag is Kaniko's: it can be repeated, takes lists, and an empty one means none.
func TestCredentialHelpers(t *testing.T) {
	for _, v := range []string{"DOCKER_AUTH_CONFIG", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "CI_REGISTRY", "KANIKO_GHCR_IO_PASSWORD"} {
		t.Setenv(v, "")
	}
	t.Setenv("GITHUB_TOKEN", "hidden")
	t.Setenv("SLIPWAY_GHCR_IO_USER", "ann")
	t.Setenv("SLIPWAY_GHCR_IO_PASSWORD", "hidden")
	t.Setenv("HOME", t.TempDir())
	repo, err := name.NewRepository("ghcr.io/a/b")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "$SLIPWAY_GHCR_IO_USER, github ($GITHUB_TOKEN)"},
		{[]string{"--credential-helpers=github"}, "github ($GITHUB_TOKEN)"},
		{[]string{"--credential-helpers=github,env"}, "$SLIPWAY_GHCR_IO_USER, github ($GITHUB_TOKEN)"},
		{[]string{"--credential-helpers", "ecr", "--credential-helpers", "github"}, "github ($GITHUB_TOKEN)"},
		{[]string{"--credential-helpers="}, ""},
		{[]string{"--credential-helpers", ""}, ""},
	} {
		o, err := options(t, test.args...)
		if err != nil {
			t.Errorf("%q: %v", test.args, err)
			continue
		}
		var got []string
		for _, c := range o.Registry.Credentials.Candidates(repo) {
			got = append(got, c.Name)
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%q: got %q, want %q", test.args, got, test.want)
		}
	}
	if _, err := options(t, "--credential-helpers=gcr"); err == nil || !strings.Contains(err.Error(), "env, google, ecr, acr, gitlab, github") {
		t.Errorf("an unknown helper: %v", err)
	}
}

// Kaniko's variables add to its flags.
func TestMirrorVariables(t *testing.T) {
	t.Setenv("KANIKO_REGISTRY_MIRROR", "m")
	t.Setenv("KANIKO_REGISTRY_MAP", "quay.io=q;gcr.io=g")
	o, err := options(t, "--registry-mirror=first", "--registry-map=quay.io=first")
	if got := fmt.Sprint(o.Registry.Mirrors); err != nil || got != "map[docker.io:[first m] gcr.io:[g] quay.io:[first q]]" {
		t.Errorf("got %s, %v", got, err)
	}
	w, _ := warmed(t)
	if got := fmt.Sprint(w.Registry.Mirrors); got != "map[docker.io:[m] gcr.io:[g] quay.io:[q]]" {
		t.Errorf("the warmer has %s", got)
	}
}

func TestBadRegistryFlags(t *testing.T) {
	for flag, want := range map[string]string{
		"--registry-map=quay.io":                         "REGISTRY=MIRROR",
		"--registry-map==m":                              "REGISTRY=MIRROR",
		"--registry-client-cert=r.example.com=/cert.pem": "HOST=CERT,KEY",
		"--push-retry=-1":                                "not negative",
	} {
		if _, err := options(t, flag); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}
