package credentials_test

import (
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/credentials"
)

// A helper is asked for the hosts of its own service alone. Its login is that of the pod: whoever gets it at a host
// that only looks like one of the service's may push to all of the user's repositories.
func TestHostsOfHelpers(t *testing.T) {
	env := environment(map[string]string{
		"CI_REGISTRY": "registry.gitlab.com", "CI_REGISTRY_USER": "u", "CI_REGISTRY_PASSWORD": "hidden", "CI_JOB_TOKEN": "hidden-job",
		"CI_DEPENDENCY_PROXY_SERVER": "gitlab.com:443", "CI_DEPENDENCY_PROXY_USER": "u", "CI_DEPENDENCY_PROXY_PASSWORD": "hidden-proxy",
		"GITHUB_TOKEN": "hidden", "GITHUB_ACTOR": "octocat",
		"AWS_PROFILE": "p",
	})
	s := open(t, credentials.Options{Getenv: env})
	const (
		gitlab = "gitlab ($CI_REGISTRY_PASSWORD), gitlab ($CI_JOB_TOKEN)"
		proxy  = "gitlab ($CI_DEPENDENCY_PROXY_PASSWORD), gitlab ($CI_JOB_TOKEN)"
		github = "github ($GITHUB_TOKEN)"
	)
	for host, want := range map[string]string{
		"gcr.io":                       "google",
		"eu.gcr.io":                    "google",
		"us-docker.pkg.dev":            "google",
		"europe-west1-docker.pkg.dev":  "google",
		"evil-gcr.io":                  "",
		"gcr.io.evil.com":              "",
		"us-docker.pkg.dev.evil.com":   "",
		"evilpkg.dev":                  "",
		"pkg.dev":                      "",
		"gcr.io:8443":                  "",
		"docker.google.com":            "",
		"us-docker.pkg.dev.attacker.x": "",

		"123456789012.dkr.ecr.us-east-1.amazonaws.com":          "ecr",
		"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com": "ecr",
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":      "ecr",
		"123456789012.dkr-ecr.eu-west-1.on.aws":                 "ecr",
		"public.ecr.aws":                                        "ecr",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com.evil.com": "",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com:5000":     "",
		"123456789012.dkr.ecr.evil.com":                         "",
		"123456789012.dkr.ecr.x.evil.amazonaws.com":             "",
		"123456789012.dkr.ecr.evil.us-east-1xamazonaws.com":     "",
		"x.123456789012.dkr.ecr.us-east-1.amazonaws.com":        "",
		"evil.s3.amazonaws.com":                                 "",
		"evil-public.ecr.aws":                                   "",
		"public.ecr.aws.evil.com":                               "",

		"x.azurecr.io":              "acr",
		"x.azurecr.cn":              "acr",
		"x.azurecr.us":              "acr",
		"x.westeurope.azurecr.io":   "acr",
		"X.AzureCR.io":              "acr",
		"azurecr.io":                "",
		"x.azurecr.io.attacker.com": "",
		"xazurecr.io":               "",
		"x.azurecr.io:8443":         "",
		"x.azurecr.de.evil.com":     "",

		"registry.gitlab.com":          gitlab,
		"gitlab.com":                   proxy,
		"gitlab.com:443":               proxy,
		"registry.gitlab.com.evil.com": "",
		"evil-registry.gitlab.com":     "",
		"gitlab.com:5050":              "",

		"ghcr.io":       github,
		"ghcr.io.evil":  "",
		"evil-ghcr.io":  "",
		"x.ghcr.io":     "",
		"ghcr.io:8443":  "",
		"docker.io":     "",
		"r.example.com": "",
	} {
		if got := names(t, s, host+"/team/app"); got != want {
			t.Errorf("%s: got %q, want %q", host, got, want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	for _, test := range []struct{ stems, repo, want string }{
		{"KANIKO_R_EXAMPLE_COM", "r.example.com/a", "KANIKO_R_EXAMPLE_COM"},
		{"SLIPWAY_R_EXAMPLE_COM", "r.example.com/a", "SLIPWAY_R_EXAMPLE_COM"},
		{"KANIKO_EXAMPLE_COM KANIKO_R_EXAMPLE_COM SLIPWAY_EXAMPLE_COM", "r.example.com/a", "KANIKO_R_EXAMPLE_COM SLIPWAY_EXAMPLE_COM KANIKO_EXAMPLE_COM"},
		{"KANIKO_MY_HOST_EXAMPLE_COM", "my-host.example.com/a", "KANIKO_MY_HOST_EXAMPLE_COM"},
		{"KANIKO_DOCKER_IO", "alpine", "KANIKO_DOCKER_IO"},
		{"KANIKO_R_EXAMPLE_COM_5000", "r.example.com:5000/a", "KANIKO_R_EXAMPLE_COM_5000"},
		{"KANIKO_R_EXAMPLE_COM:5000", "r.example.com:5000/a", "KANIKO_R_EXAMPLE_COM:5000"},
		{"KANIKO_LOCALHOST_5000", "localhost:5000/a", "KANIKO_LOCALHOST_5000"},
		{"KANIKO_R_EXAMPLE_COM", "r.example.com:5000/a", ""},
		{"KANIKO_COM", "r.example.com/a", ""},
		{"KANIKO_EXAMPLE_COM", "evilexample.com/a", ""},
		{"KANIKO_EXAMPLE_COM", "evil-example.com/a", ""},
		{"KANIKO_EXAMPLE_COM", "example.com.evil.com/a", ""},
	} {
		vars := map[string]string{"KANIKO_X_EXAMPLE_COM_USER": "user without password"}
		for _, stem := range strings.Fields(test.stems) {
			vars[stem+"_USER"], vars[stem+"_PASSWORD"] = stem, "hidden"
		}
		if got := users(t, open(t, credentials.Options{Getenv: environment(vars)}), test.repo); got != test.want {
			t.Errorf("%s: for %s got %q, want %q", test.stems, test.repo, got, test.want)
		}
	}
}

func TestChoiceOfHelpers(t *testing.T) {
	env := environment(map[string]string{
		"CI_REGISTRY": "ghcr.io", "CI_JOB_TOKEN": "hidden", "GITHUB_TOKEN": "hidden", "KANIKO_GHCR_IO_USER": "ann", "KANIKO_GHCR_IO_PASSWORD": "hidden",
	})
	const all = "$KANIKO_GHCR_IO_USER, gitlab ($CI_JOB_TOKEN), github ($GITHUB_TOKEN)"
	for _, test := range []struct {
		helpers []string
		want    string
	}{
		{nil, all},
		{[]string{}, ""},
		{[]string{"github"}, "github ($GITHUB_TOKEN)"},
		{[]string{"github", "gitlab", "env"}, all},
	} {
		if got := names(t, open(t, credentials.Options{Getenv: env, Helpers: test.helpers}), "ghcr.io/a/b"); got != test.want {
			t.Errorf("%q: got %q, want %q", test.helpers, got, test.want)
		}
	}
	if _, err := credentials.Open(credentials.Options{Getenv: env, Helpers: []string{"gcr"}}); err == nil {
		t.Error("an unknown helper: no error")
	}
}
