// Package secret holds what --secret and --ssh give to a build.
package secret

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	csvvalue "github.com/tonistiigi/go-csvvalue"
)

// MaxSize is the largest secret in bytes; BuildKit has the same limit.
const MaxSize = 500 << 10

// Spec is one --secret: where the value of an id comes from.
type Spec struct {
	ID string
	// Env is the environment variable, or File the file, that holds the value.
	Env, File string
}

// Parse reads the value of --secret, in the syntax of docker buildx:
// "id=ID[,src=FILE|,env=VARIABLE][,type=file|env]". With an id alone, the variable of
// that name is taken if there is one, else the file.
func Parse(value string) (Spec, error) {
	fields, err := csvvalue.Fields(value, nil)
	if err != nil {
		return Spec{}, fmt.Errorf("secret %q: %w", value, err)
	}
	var s Spec
	kind := ""
	for _, field := range fields {
		key, val, ok := strings.Cut(field, "=")
		if !ok {
			return Spec{}, fmt.Errorf("secret %q: %q is not of the form key=value", value, field)
		}
		switch strings.ToLower(key) {
		case "id":
			s.ID = val
		case "src", "source":
			s.File = val
		case "env":
			s.Env = val
		case "type":
			kind = val
		default:
			return Spec{}, fmt.Errorf("secret %q: unknown key %q (known are id, src, env, type)", value, key)
		}
	}
	switch kind {
	case "", "file":
	case "env":
		if s.Env == "" {
			s.Env, s.File = s.File, ""
		}
	default:
		return Spec{}, fmt.Errorf("secret %q: type %q is neither file nor env", value, kind)
	}
	if s.ID == "" {
		return Spec{}, fmt.Errorf("secret %q: there is no id", value)
	}
	if s.Env != "" && s.File != "" {
		return Spec{}, fmt.Errorf("secret %q: src and env exclude each other", value)
	}
	if s.Env == "" && s.File == "" {
		if _, ok := os.LookupEnv(s.ID); ok && kind != "file" {
			s.Env = s.ID
		} else if kind == "env" {
			s.Env = s.ID
		} else {
			s.File = s.ID
		}
	}
	return s, nil
}

// Dir lists the files in a directory as secrets, each by its name. Names that begin with ".." are how
// the kubelet keeps the files of a mounted Secret, to which links lead.
func Dir(dir string) ([]Spec, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	var specs []Spec
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", e.Name(), err)
		}
		if info.Mode().IsRegular() {
			specs = append(specs, Spec{ID: e.Name(), File: path})
		}
	}
	return specs, nil
}

// Store holds the values of a build's secrets in memory. It implements op.Secrets.
type Store struct {
	values map[string][]byte
	hidden [][]byte
}

// Load reads the values. A missing file or variable is an error here, before the build starts.
func Load(specs []Spec) (*Store, error) {
	s := &Store{values: map[string][]byte{}}
	for _, spec := range specs {
		value, err := spec.load()
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", spec.ID, err)
		}
		if _, twice := s.values[spec.ID]; twice {
			return nil, fmt.Errorf("secret %s is given twice", spec.ID)
		}
		s.values[spec.ID] = value
	}
	return s, nil
}

func (s Spec) load() ([]byte, error) {
	if s.Env != "" {
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return nil, fmt.Errorf("the environment variable %s is not set", s.Env)
		}
		return []byte(v), nil
	}
	info, err := os.Stat(s.File)
	if err != nil {
		return nil, err
	}
	if info.Size() > MaxSize {
		return nil, fmt.Errorf("%s has %d bytes, more than the limit of %d", s.File, info.Size(), MaxSize)
	}
	return os.ReadFile(s.File)
}

// Secret returns the value of id; the error matches fs.ErrNotExist if it was not given.
func (s *Store) Secret(_ context.Context, id string) ([]byte, error) {
	v, ok := s.values[id]
	if !ok {
		return nil, fmt.Errorf("secret %s: %w", id, fs.ErrNotExist)
	}
	return v, nil
}

// Hide adds values that are not given by an id, and are to be masked in logs all the same. It must not be called
// while the store is in use.
func (s *Store) Hide(values ...string) {
	for _, v := range values {
		if v != "" {
			s.hidden = append(s.hidden, []byte(v))
		}
	}
}

// Values returns all values, for masking them in logs. A nil store has none.
func (s *Store) Values() [][]byte {
	if s == nil {
		return nil
	}
	all := slices.Clone(s.hidden)
	for _, v := range s.values {
		all = append(all, v)
	}
	return all
}
