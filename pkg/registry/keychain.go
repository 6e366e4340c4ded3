package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// ConfigKeychain gives the logins of a Docker configuration, which is read once, now. path is its file,
// or a directory that holds one, named as Docker or one of Kubernetes' secrets names it: config.json,
// .dockerconfigjson (type kubernetes.io/dockerconfigjson) or .dockercfg (kubernetes.io/dockercfg), of
// several the first. An empty directory, such as Kubernetes mounts for an optional secret that is not there,
// has no logins; one with other files is an error.
func ConfigKeychain(path string) (authn.Keychain, error) {
	file, err := configPath(path)
	if err != nil {
		return nil, fmt.Errorf("docker configuration: %w", err)
	}
	if file == "" {
		return authn.NewMultiKeychain(), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("docker configuration: %w", err)
	}
	if filepath.Base(file) == ".dockercfg" { // the logins without anything around
		data = append(append([]byte(`{"auths":`), data...), '}')
	}
	conf, err := config.LoadFromReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("docker configuration %s: %w", file, err)
	}
	return configKeychain{conf}, nil
}

// configPath is the file that path means, "" for an empty directory.
func configPath(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return path, nil
	}
	for _, base := range []string{"config.json", ".dockerconfigjson", ".dockercfg"} {
		file := filepath.Join(path, base)
		_, err := os.Stat(file)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		// kubelet keeps what is behind the files of a volume under such names.
		if !strings.HasPrefix(e.Name(), "..") {
			return "", fmt.Errorf("%s has none of config.json, .dockerconfigjson, .dockercfg", path)
		}
	}
	return "", nil
}

type configKeychain struct{ file *configfile.ConfigFile }

// Resolve implements authn.Keychain. The login of a repository comes before that of its registry.
func (k configKeychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	for _, key := range []string{r.String(), r.RegistryStr()} {
		if key == name.DefaultRegistry {
			key = authn.DefaultAuthKey
		}
		c, err := k.file.GetAuthConfig(key)
		if err != nil {
			return nil, fmt.Errorf("docker configuration: login for %s: %w", key, err)
		}
		c.ServerAddress = "" // differs although nothing else is there
		if c != (types.AuthConfig{}) {
			return authn.FromConfig(authn.AuthConfig{
				Username: c.Username, Password: c.Password, Auth: c.Auth,
				IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
			}), nil
		}
	}
	return authn.Anonymous, nil
}
