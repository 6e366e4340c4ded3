package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DefaultFile is the name of the rules in a directory if no other is given.
const DefaultFile = "policy.json"

// File is the file with the rules that is meant by a name and a directory, either of which may be missing, such as
// a mounted ConfigMap: a relative name is one in the directory, and without a name it is [DefaultFile]. It gives ""
// if there is neither, or if nobody names a file and the directory is empty, as Kubernetes mounts what is optional
// and missing. A directory that has other files only is an error, so that rules with a wrong name are not passed
// over.
func File(name, dir string) (string, error) {
	switch {
	case dir == "" || filepath.IsAbs(name):
		return name, nil
	case name != "":
		return filepath.Join(dir, name), nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("policy: %w", err)
	}
	empty := true
	for _, e := range entries {
		if e.Name() == DefaultFile {
			return filepath.Join(dir, DefaultFile), nil
		}
		// Names that begin with ".." are the kubelet's own.
		empty = empty && strings.HasPrefix(e.Name(), "..")
	}
	if !empty {
		return "", fmt.Errorf("policy: %s has no %s, and no other file is named", dir, DefaultFile)
	}
	return "", nil
}
