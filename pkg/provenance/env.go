package provenance

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
)

// runKey is the internal parameter with Facts.Run.
const runKey = "run"

// hermeticKey is the internal parameter with Facts.Hermetic. BuildKit's own says less: it is never set for a context that is a directory.
const hermeticKey = "hermetic"

// reserved are internal parameters that have their meaning.
func reserved() []string {
	return []string{runKey, hermeticKey, "buildConfig", "builderPlatform", "targetPlatform", "dockerfileVersion"}
}

// ReadEnv reads the JSON objects in the files "*.json" of a directory, which can be a mounted ConfigMap, and joins them. As with
// BuildKit's provenanceEnvDir, it is where who runs the builds says what holds for all of them.
func ReadEnv(dir string) (map[string]any, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("facts for the provenance: %w", err)
	}
	env, err := readEnv(root.FS())
	if err = errors.Join(err, root.Close()); err != nil {
		return nil, fmt.Errorf("facts for the provenance in %s: %w", dir, err)
	}
	return env, nil
}

func readEnv(dir fs.FS) (map[string]any, error) {
	entries, err := fs.ReadDir(dir, ".")
	if err != nil {
		return nil, err
	}
	env := map[string]any{}
	for _, e := range entries {
		if path.Ext(e.Name()) != ".json" {
			continue
		}
		data, err := fs.ReadFile(dir, e.Name())
		if err != nil {
			return nil, err
		}
		var facts map[string]any
		if err := json.Unmarshal(data, &facts); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		for k, v := range facts {
			if slices.Contains(reserved(), k) {
				return nil, fmt.Errorf("%s: %s is told by the build itself", e.Name(), k)
			}
			if _, twice := env[k]; twice {
				return nil, fmt.Errorf("%s: another file has %s, too", e.Name(), k)
			}
			env[k] = v
		}
	}
	return env, nil
}
