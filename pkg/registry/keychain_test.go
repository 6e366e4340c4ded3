package registry_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-build/slipway/pkg/registry"
)

func TestConfigKeychain(t *testing.T) {
	login := func(user string) string {
		return fmt.Sprintf(`{"auth":%q}`, base64.StdEncoding.EncodeToString([]byte(user+":secret")))
	}
	logins := fmt.Sprintf(`{"r.example.com":%s,"r.example.com/team/app":%s,"https://index.docker.io/v1/":%s}`, login("host"), login("app"), login("hub"))
	for base, text := range map[string]string{
		"config.json": `{"auths":` + logins + `}`, ".dockerconfigjson": `{"auths":` + logins + `}`, ".dockercfg": logins,
	} {
		t.Run(base, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, base)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{dir, file} {
				k, err := registry.ConfigKeychain(path)
				if err != nil {
					t.Fatal(err)
				}
				for repo, want := range map[string]string{
					"r.example.com/team/app": "app", "r.example.com/team/other": "host", "alpine": "hub",
					"evil-r.example.com/team/app": "", "r.example.com:5000/team/app": "",
				} {
					r, err := name.NewRepository(repo)
					if err != nil {
						t.Fatal(err)
					}
					a, err := k.Resolve(r)
					if err != nil {
						t.Fatal(err)
					}
					c, err := authn.Authorization(t.Context(), a)
					if err != nil || c.Username != want {
						t.Errorf("%s: user %q, %v; want %q", repo, c.Username, err, want)
					}
				}
			}
		})
	}
}

// What Kubernetes mounts for an optional secret that is not there.
func TestConfigKeychainEmpty(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "..2026_01_01"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..2026_01_01", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, t.TempDir()} {
		k, err := registry.ConfigKeychain(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := name.NewRepository("r.example.com/team/app")
		if err != nil {
			t.Fatal(err)
		}
		if a, err := k.Resolve(r); err != nil || a != authn.Anonymous {
			t.Errorf("%v, %v", a, err)
		}
	}
}

func TestConfigKeychainErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "password"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "missing")} {
		if _, err := registry.ConfigKeychain(path); err == nil {
			t.Errorf("%s: no error", path)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.ConfigKeychain(dir); err == nil {
		t.Error("a damaged file: no error")
	}
}
