package bucket

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// googleKey is the variable that names the file of a Google service account's key.
const googleKey = "GOOGLE_APPLICATION_CREDENTIALS"

// variable is what the environment variables of the clouds' tools are called.
var variable = regexp.MustCompile(`^(AWS|AZURE|GOOGLE)_[A-Z0-9_]+$`)

// otherVariables are those of the same tools with other names.
func otherVariables() []string {
	return []string{"S3_ENDPOINT", "S3_FORCE_PATH_STYLE", "STORAGE_EMULATOR_HOST"}
}

// Environment is what a directory with credentials, such as a mounted Kubernetes Secret, says to the clients of
// buckets, as the environment variables that they read. A file with the name of such a variable has its value;
// "credentials" and "config" are those of ~/.aws; a file *.json, or GOOGLE_APPLICATION_CREDENTIALS, is the key of a
// Google service account. Another file is an error, because something would not be used that was given for it.
// Names that begin with ".." are the kubelet's own.
func Environment(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("credentials for buckets: %w", err)
	}
	env := map[string]string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		name, value, err := setting(path)
		if err == nil && env[name] != "" {
			err = fmt.Errorf("another file there sets %s, too", name)
		}
		if err != nil {
			return nil, fmt.Errorf("credentials for buckets: %s: %w", path, err)
		}
		env[name] = value
	}
	return env, nil
}

// setting is the variable that a file stands for.
func setting(path string) (name, value string, err error) {
	switch name := filepath.Base(path); {
	case name == "credentials":
		return "AWS_SHARED_CREDENTIALS_FILE", path, nil
	case name == "config":
		return "AWS_CONFIG_FILE", path, nil
	case name == googleKey, strings.HasSuffix(name, ".json"):
		return googleKey, path, nil
	case variable.MatchString(name), slices.Contains(otherVariables(), name):
		data, err := os.ReadFile(path)
		if err != nil {
			return "", "", err
		}
		value := strings.TrimRight(string(data), "\r\n")
		if strings.ContainsAny(value, "\x00\r\n") {
			return "", "", errors.New("the value has more than one line")
		}
		return name, value, nil
	}
	return "", "", errors.New("it is neither the name of a variable, as AWS_SECRET_ACCESS_KEY or AZURE_STORAGE_ACCESS_KEY, " +
		"nor one of credentials, config (of AWS) and *.json (of Google)")
}
