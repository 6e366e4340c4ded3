// Package bundle makes what is generated of the bundle for Tekton and Argo: definitions that follow from
// others, the tables of the READMEs, and catalog.yaml. The sources are written by hand; everything here works
// on their YAML as text and nodes, so that comments and order stay as they were written, and needs
// neither Tekton nor Kubernetes.
package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Kind is what a definition defines, as its field kind says.
type Kind string

// The kinds of definitions.
const (
	Task       Kind = "Task"
	StepAction Kind = "StepAction"
	Pipeline   Kind = "Pipeline"
)

// Kinds lists all kinds in the order in which they are shown.
func Kinds() []Kind { return []Kind{Task, StepAction, Pipeline} }

// Dir is the directory of the repository that holds a directory for each definition of the kind.
func (k Kind) Dir() string {
	if k == Pipeline {
		return "pipelines"
	}
	return k.Lower()
}

// Lower is the kind as resolvers, bundles and hubs spell it.
func (k Kind) Lower() string { return strings.ToLower(string(k)) }

// Plural is the kind as the catalog contract spells it.
func (k Kind) Plural() string { return k.Lower() + "s" }

// Definition is one Tekton resource that others use.
type Definition struct {
	Kind       Kind
	APIVersion string
	Name       string
	Version    string // "0.1.0"
	// Path is where it lies in the repository, slash-separated: "task/slipway/slipway.yaml".
	Path string
	// Data is the file as it is.
	Data []byte
	// Platforms are those that it says to run on.
	Platforms []string
	// Params, Workspaces and Results are what its users see of it.
	Params     []Param
	Workspaces []Workspace
	Results    []Result
}

// Param is a parameter of a definition.
type Param struct {
	Name, Type, Description string
	// Default is nil if the parameter must be given.
	Default *yaml.Node
}

// Workspace is a workspace of a definition.
type Workspace struct {
	Name, Description string
	Optional          bool
}

// Result is a result of a definition.
type Result struct {
	Name, Type, Description string
}

// Readme is the path of the definition's README.
func (d *Definition) Readme() string { return path.Join(path.Dir(d.Path), "README.md") }

// document is the part of a definition's YAML that this package reads.
type document struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       Kind   `yaml:"kind"`
	Metadata   struct {
		Name        string            `yaml:"name"`
		Labels      map[string]string `yaml:"labels"`
		Annotations map[string]string `yaml:"annotations"`
	} `yaml:"metadata"`
	Spec struct {
		Params []struct {
			Name        string    `yaml:"name"`
			Type        string    `yaml:"type"`
			Description string    `yaml:"description"`
			Default     yaml.Node `yaml:"default"`
		} `yaml:"params"`
		Workspaces []Workspace `yaml:"workspaces"`
		Results    []Result    `yaml:"results"`
	} `yaml:"spec"`
}

// Parse reads a definition; path is where it lies in the repository.
func Parse(file string, data []byte) (*Definition, error) {
	var doc document
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	d := &Definition{
		Kind: doc.Kind, APIVersion: doc.APIVersion, Name: doc.Metadata.Name, Version: doc.Metadata.Labels["app.kubernetes.io/version"],
		Path: file, Data: data, Workspaces: doc.Spec.Workspaces, Results: doc.Spec.Results,
		Platforms: strings.Split(doc.Metadata.Annotations["tekton.dev/platforms"], ","),
	}
	for _, p := range doc.Spec.Params {
		param := Param{Name: p.Name, Type: p.Type, Description: p.Description}
		if !p.Default.IsZero() {
			param.Default = &p.Default
		}
		d.Params = append(d.Params, param)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

// check finds what would lead generation astray. What Tekton demands, Tekton's own code checks.
func (d *Definition) check() error {
	want := path.Join(d.Kind.Dir(), d.Name, d.Name+".yaml")
	switch {
	case !slices.Contains(Kinds(), d.Kind):
		return fmt.Errorf("the kind %q is none of a catalog", d.Kind)
	case d.Path != want:
		return fmt.Errorf("the %s %q belongs into %s", d.Kind, d.Name, want)
	case d.Version == "":
		return errors.New("no label app.kubernetes.io/version")
	}
	return nil
}

// Load reads the definitions that lie in a repository, sorted by kind and name.
func Load(repository fs.FS) ([]*Definition, error) { return load(repository, nil) }

// load is Load where the content of some files is already known.
func load(repository fs.FS, made map[string][]byte) ([]*Definition, error) {
	var all []*Definition
	for _, kind := range Kinds() {
		dirs, err := fs.ReadDir(repository, kind.Dir())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			if !dir.IsDir() {
				continue
			}
			file := path.Join(kind.Dir(), dir.Name(), dir.Name()+".yaml")
			data, ok := made[file]
			if !ok {
				if data, err = fs.ReadFile(repository, file); err != nil {
					return nil, err
				}
			}
			d, err := Parse(file, data)
			if err != nil {
				return nil, err
			}
			all = append(all, d)
		}
	}
	return all, nil
}
