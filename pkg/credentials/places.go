package credentials

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Options say where to look.
type Options struct {
	// DockerConfig is the file of a configuration or a directory of one; "" for none. Unlike at the other places, it
	// is an error if it is not there or cannot be read.
	DockerConfig string
	// Helpers are those of [HelperNames] that are asked; nil for all.
	Helpers []string
	// Getenv looks up a variable of the environment, "" if it is not set; nil stands for os.Getenv.
	Getenv func(string) string
	// Dirs are the directories in which images and clusters mount configurations; nil stands for those
	// of [MountedDirs].
	Dirs []string
}

// MountedDirs are where images for Kaniko have the configuration, and where Tekton writes the logins of a service account.
func MountedDirs() []string {
	return []string{"/kaniko/.docker", "/tekton/creds/.docker", "/tekton/creds", "/tekton/home/.docker", "/tekton/home"}
}

// Open reads all configurations, once, and gives what they and the built-in helpers have.
func Open(o Options) (Source, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Dirs == nil {
		o.Dirs = MountedDirs()
	}
	helpers, err := builtin(o.Helpers, o.Getenv)
	if err != nil {
		return nil, err
	}
	var all Sources
	if o.DockerConfig != "" {
		if all, err = readDockerConfig(o.DockerConfig); err != nil {
			return nil, fmt.Errorf("docker configuration: %w", err)
		}
	}
	if text := o.Getenv("DOCKER_AUTH_CONFIG"); text != "" {
		all = append(all, parsed("DOCKER_AUTH_CONFIG", []byte(text), false))
	}
	seen := map[string]bool{}
	for _, p := range places(o.Getenv, o.Dirs) {
		if path := filepath.Clean(p.path); !seen[path] {
			seen[path] = true
			all = append(all, p.read()...)
		}
	}
	return append(all, helpers...), nil
}

// place is a file that may hold a configuration.
type place struct {
	name, path string
	expected   bool // it is an error if it is not there
}

// bases are the names of configurations: Docker's, and the keys of Kubernetes' secrets of the types
// kubernetes.io/dockerconfigjson and kubernetes.io/dockercfg.
func bases() []string { return []string{"config.json", ".dockerconfigjson", ".dockercfg"} }

// inDir are the places in a directory.
func inDir(name, dir string) []place {
	var all []place
	for _, base := range bases() {
		all = append(all, place{name: name + "/" + base, path: filepath.Join(dir, base)})
	}
	return all
}

// places are all files that are looked for, in order.
func places(env func(string) string, mounted []string) []place {
	var all []place
	if dir := env("DOCKER_CONFIG"); dir != "" {
		all = append(all, inDir("$DOCKER_CONFIG", dir)...)
	}
	home := env("HOME")
	if home != "" {
		all = append(all, inDir("$HOME/.docker", filepath.Join(home, ".docker"))...)
		all = append(all, place{name: "$HOME/.dockercfg", path: filepath.Join(home, ".dockercfg")})
	}
	for _, dir := range mounted {
		all = append(all, inDir(dir, dir)...)
	}
	if file := env("REGISTRY_AUTH_FILE"); file != "" {
		all = append(all, place{name: "$REGISTRY_AUTH_FILE", path: file, expected: true})
	}
	const podman = "containers/auth.json"
	if dir := env("XDG_RUNTIME_DIR"); dir != "" {
		all = append(all, place{name: "$XDG_RUNTIME_DIR/" + podman, path: filepath.Join(dir, podman)})
	}
	if dir := env("XDG_CONFIG_HOME"); dir != "" {
		all = append(all, place{name: "$XDG_CONFIG_HOME/" + podman, path: filepath.Join(dir, podman)})
	} else if home != "" {
		all = append(all, place{name: "$HOME/.config/" + podman, path: filepath.Join(home, ".config", podman)})
	}
	return all
}

// read gives what is at the place: nothing, a configuration, or a candidate that says what is wrong.
func (p place) read() []Source {
	text, err := os.ReadFile(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !p.expected:
		return nil
	case errors.Is(err, fs.ErrPermission) && !p.expected:
		// Perhaps there is nothing: the directory belongs to somebody else.
		return []Source{wrong{p.name, absent(err)}}
	case err != nil:
		return []Source{wrong{p.name, err}}
	}
	return []Source{parsed(p.name, text, filepath.Base(p.path) == ".dockercfg")}
}

func parsed(name string, text []byte, bare bool) Source {
	c, err := parseConfiguration(name, text, bare)
	if err != nil {
		return wrong{name, fmt.Errorf("is not a Docker configuration: %w", err)}
	}
	return c
}

// wrong is a configuration that cannot be read. It might have had a login for any repository.
type wrong struct {
	name string
	err  error
}

// Candidates implements Source.
func (w wrong) Candidates(name.Repository) []Candidate { return []Candidate{broken(w.name, w.err)} }

// readDockerConfig reads the configurations that path means: a file, or all in a directory. An empty directory, such
// as Kubernetes mounts for an optional secret that is not there, has none; one with other files is an error.
func readDockerConfig(path string) (Sources, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	files := []place{{path: path, expected: true}}
	if info.IsDir() {
		files = inDir("", path)
	}
	var all Sources
	for _, f := range files {
		for _, s := range f.read() {
			switch s := s.(type) {
			case wrong:
				return nil, fmt.Errorf("%s: %w", f.path, s.err)
			case *configuration:
				s.name = "--docker-config" + f.name
				all = append(all, s)
			}
		}
	}
	if len(all) == 0 {
		err = checkEmpty(path)
	}
	return all, err
}

func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// kubelet keeps what is behind the files of a volume under such names.
		if !strings.HasPrefix(e.Name(), "..") {
			return fmt.Errorf("%s has none of %s", dir, strings.Join(bases(), ", "))
		}
	}
	return nil
}
