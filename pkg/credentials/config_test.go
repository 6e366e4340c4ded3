package credentials_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/credentials"
)

// In one file, the longest scope of a repository comes first, and the shorter ones follow.
func TestScopes(t *testing.T) {
	for _, test := range []struct{ keys, repo, want string }{
		{"r.example.com=host", "r.example.com/a", "host"},
		{"r.example.com=host r.example.com/team=team r.example.com/team/app=app", "r.example.com/team/app", "app team host"},
		{"r.example.com=host r.example.com/team=team r.example.com/team/app=app", "r.example.com/team/other", "team host"},
		{"r.example.com/team=team", "r.example.com/teammate/app", ""},
		{"r.example.com/team=team", "r.example.com/app", ""},
		{"https://r.example.com=a", "r.example.com/a", "a"},
		{"https://r.example.com/v1/=a", "r.example.com/a", "a"},
		{"http://r.example.com/v2/=a", "r.example.com/a", "a"},
		{"https://r.example.com/team/=a", "r.example.com/team/app", "a"},
		{"R.Example.com=a", "r.example.com/a", "a"},
		{"r.example.com:443=a", "r.example.com/a", "a"},
		{"r.example.com=a", "r.example.com:443/a", "a"},
		{"r.example.com=a", "r.example.com:5000/a", ""},
		{"r.example.com:5000=a", "r.example.com/a", ""},
		{"https://index.docker.io/v1/=hub", "alpine", "hub"},
		{"index.docker.io=hub", "docker.io/team/app", "hub"},
		{"docker.io=hub", "alpine", "hub"},
		{"registry-1.docker.io=hub", "index.docker.io/library/alpine", "hub"},
		{"docker.io=hub docker.io/team=team", "team/app", "team hub"},

		{"r.example.com=a", "evil-r.example.com/a", ""},
		{"r.example.com=a", "r.example.com.evil.com/a", ""},
		{"r.example.com=a", "x.r.example.com/a", ""},
		{"example.com=a", "r.example.com/a", ""},
		{"docker.io=hub", "docker.io.evil.com/a/b", ""},
		{"docker.io=hub", "evil-docker.io/a/b", ""},
	} {
		s := open(t, credentials.Options{DockerConfig: files(t, map[string]string{"config.json": auths(test.keys)})})
		if got := users(t, s, test.repo); got != test.want {
			t.Errorf("%s: for %s got %q, want %q", test.keys, test.repo, got, test.want)
		}
	}
}

// No place hides another: what each has is tried, in this order.
func TestPlaces(t *testing.T) {
	key := func(user string) string { return auths("r.example.com=" + user) }
	dir := files(t, map[string]string{
		"flag/config.json":                        key("flag"),
		"flag/.dockercfg":                         bare("r.example.com=flag-cfg"),
		"docker/config.json":                      key("docker-config"),
		"home/.docker/config.json":                key("home"),
		"home/.dockercfg":                         bare("r.example.com=home-cfg"),
		"kaniko/config.json":                      key("kaniko"),
		"creds/.docker/config.json":               key("tekton"),
		"creds/.dockercfg":                        bare("r.example.com=tekton-cfg"),
		"authfile":                                key("authfile"),
		"runtime/containers/auth.json":            key("podman"),
		"home/.config/containers/auth.json":       key("podman-home"),
		"config/containers/auth.json":             key("podman-config"),
		"same/.docker/config.json":                key("docker-config"),
		"unrelated/.docker/config.json":           auths("other.example.com=x"),
		"unrelated/.docker/contexts/meta/a/x.yml": "",
	})
	at := func(p string) string { return filepath.Join(dir, p) }
	all := map[string]string{
		"DOCKER_AUTH_CONFIG": key("variable"), "DOCKER_CONFIG": at("docker"), "HOME": at("home"),
		"REGISTRY_AUTH_FILE": at("authfile"), "XDG_RUNTIME_DIR": at("runtime"), "XDG_CONFIG_HOME": at("config"),
	}
	for name, test := range map[string]struct {
		flag string
		env  map[string]string
		dirs []string
		want string
	}{
		"all": {
			at("flag"), all, []string{at("kaniko"), at("creds/.docker"), at("creds")},
			"flag flag-cfg variable docker-config home home-cfg kaniko tekton tekton-cfg authfile podman podman-config",
		},
		"a file by flag":              {at("flag/config.json"), nil, nil, "flag"},
		"a .dockercfg by flag":        {at("flag/.dockercfg"), nil, nil, "flag-cfg"},
		"podman's file at home":       {"", map[string]string{"HOME": at("home")}, nil, "home home-cfg podman-home"},
		"one login at two places":     {"", map[string]string{"DOCKER_CONFIG": at("docker"), "HOME": at("same")}, nil, "docker-config"},
		"a place by two names":        {"", map[string]string{"DOCKER_CONFIG": at("kaniko")}, []string{at("kaniko/")}, "kaniko"},
		"nothing for that registry":   {"", map[string]string{"HOME": at("unrelated")}, nil, ""},
		"directories that are not":    {"", map[string]string{"DOCKER_CONFIG": at("no"), "HOME": at("no")}, []string{at("no")}, ""},
		"the variable hides no file":  {"", map[string]string{"DOCKER_AUTH_CONFIG": auths("other.example.com=x"), "HOME": at("home")}, nil, "home home-cfg podman-home"},
		"one broken place of several": {"", map[string]string{"DOCKER_AUTH_CONFIG": "{", "DOCKER_CONFIG": at("docker")}, nil, "!is not a Docker configuration: unexpected EOF docker-config"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, credentials.Options{DockerConfig: test.flag, Getenv: environment(test.env), Dirs: append([]string{}, test.dirs...)})
			if got := users(t, s, "r.example.com/a"); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// Messages say where a login comes from as the user knows that place.
func TestNames(t *testing.T) {
	dir := files(t, map[string]string{"config.json": auths("r.example.com/team=hidden"), "sub/.docker/config.json": auths("r.example.com=ann")})
	s := open(t, credentials.Options{DockerConfig: dir, Getenv: environment(map[string]string{
		"HOME": filepath.Join(dir, "sub"), "KANIKO_R_EXAMPLE_COM_USER": "eve", "KANIKO_R_EXAMPLE_COM_PASSWORD": "hidden",
		"DOCKER_AUTH_CONFIG": `{"auths":{"r.example.com":{"identitytoken":"hidden"}}}`,
	})})
	want := "--docker-config/config.json (r.example.com/team), DOCKER_AUTH_CONFIG (r.example.com), " +
		"$HOME/.docker/config.json (r.example.com), $KANIKO_R_EXAMPLE_COM_USER"
	if got := names(t, s, "r.example.com/team/app"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What Kubernetes mounts for an optional secret that is not there has no logins.
func TestEmptyDirectory(t *testing.T) {
	for _, dir := range []string{t.TempDir(), files(t, map[string]string{"..2026_01_01/x": "", "..data": ""})} {
		if got := users(t, open(t, credentials.Options{DockerConfig: dir}), "r.example.com/a"); got != "" {
			t.Errorf("got %q", got)
		}
	}
}

func TestDockerConfigErrors(t *testing.T) {
	dir := files(t, map[string]string{
		"other/password": "", "damaged/config.json": "{", "undecodable/config.json": `{"auths":{"r":{"auth":"hidden"}}}`,
		"helper/config.json": `{"credsStore":"../../bin/sh"}`,
	})
	for sub, want := range map[string]string{
		"missing": "no such file", "other": "none of config.json", "damaged": "config.json", "undecodable": "config.json",
		"helper": "cannot be the name of a credential helper",
	} {
		_, err := credentials.Open(credentials.Options{DockerConfig: filepath.Join(dir, sub), Getenv: environment(nil), Dirs: []string{}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", sub, err)
		}
	}
}
