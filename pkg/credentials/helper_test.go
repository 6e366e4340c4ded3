package credentials_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/credentials"
)

// program puts a credential helper into the PATH, a shell script that has the server's name in $server.
func program(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\nread -r server\n" + script + "\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(text), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestHelperPrograms(t *testing.T) {
	const answer = `echo "{\"ServerURL\":\"$server\",\"Username\":\"$server\",\"Secret\":\"hidden\"}"`
	for name, test := range map[string]struct{ config, script, repo, want string }{
		"of a registry":             {`{"credHelpers":{"r.example.com":"test"}}`, answer, "r.example.com/a", "r.example.com"},
		"of another registry":       {`{"credHelpers":{"r.example.com":"test"}}`, answer, "r.example.com.evil.com/a", ""},
		"of all registries":         {`{"credsStore":"test"}`, answer, "r.example.com/a", "r.example.com"},
		"of Docker Hub":             {`{"credsStore":"test"}`, answer, "alpine", "https://index.docker.io/v1/"},
		"of Docker Hub, by alias":   {`{"credHelpers":{"docker.io":"test"}}`, answer, "alpine", "https://index.docker.io/v1/"},
		"both, and a login":         {`{"credHelpers":{"r.example.com":"test"},"credsStore":"missing","auths":{"r.example.com":` + login("ann") + `}}`, answer, "r.example.com/a", "r.example.com !the credential helper docker-credential-missing is not in PATH ann"},
		"a store's empty entry":     {`{"credsStore":"test","auths":{"r.example.com":{}}}`, answer, "r.example.com/a", "r.example.com"},
		"an identity token":         {`{"credsStore":"test"}`, `echo '{"Username":"<token>","Secret":"t"}'`, "r.example.com/a", "token:t"},
		"nothing":                   {`{"credsStore":"test"}`, `echo "credentials not found in native keychain"; exit 1`, "r.example.com/a", "!docker-credential-test has none"},
		"an error":                  {`{"credsStore":"test"}`, `echo "no session"; exit 3`, "r.example.com/a", "!docker-credential-test: exit status 3: no session"},
		"an error with a secret":    {`{"credsStore":"test"}`, answer + `; exit 3`, "r.example.com/a", "!docker-credential-test: exit status 3"},
		"a secret in another form":  {`{"credsStore":"test"}`, `echo hidden`, "r.example.com/a", "!docker-credential-test did not answer as a credential helper does"},
		"one that is not installed": {`{"credHelpers":{"r.example.com":"missing"}}`, answer, "r.example.com/a", "!the credential helper docker-credential-missing is not in PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			program(t, test.script)
			s := open(t, credentials.Options{DockerConfig: files(t, map[string]string{"config.json": test.config})})
			if got := users(t, s, test.repo); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// A helper is run when its login is needed, and not for each request.
func TestHelperRunsOnce(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	program(t, `echo "$server" >> `+log+`; echo '{"Username":"a","Secret":"hidden"}'`)
	s := open(t, credentials.Options{DockerConfig: files(t, map[string]string{"config.json": `{"credsStore":"test"}`})})
	names(t, s, "r.example.com/a")
	if _, err := os.Stat(log); err == nil {
		t.Error("listing the candidates ran the helper")
	}
	for range 3 {
		users(t, s, "r.example.com/a")
	}
	users(t, s, "r.example.com/b")
	text, err := os.ReadFile(log)
	if n := strings.Count(string(text), "\n"); err != nil || n != 1 {
		t.Errorf("it ran %d times, %v", n, err)
	}
}
