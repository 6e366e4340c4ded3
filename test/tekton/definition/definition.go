// Package definition finds the repository's definitions for Tekton and reads them as an API server with Tekton's
// resources and webhook does: no field that is not known, with defaults, validated.
package definition

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tektoncd/pipeline/pkg/apis/config"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"knative.dev/pkg/apis"
)

// group is the API group of what Tekton Pipelines defines.
const group = "tekton.dev"

// Object is a definition in Go.
type Object interface {
	runtime.Object
	metav1.Object
	apis.Defaultable
	apis.Validatable
}

// Definition is one of the repository's objects for Tekton.
type Definition struct {
	// Path is that of the file, below the repository's root, with slashes.
	Path string
	// Object is as it was written, without defaults.
	Object Object
}

// Kind is the kind of the object, such as Task.
func (d Definition) Kind() string { return d.Object.GetObjectKind().GroupVersionKind().Kind }

// IsSample says whether this is there to be read and changed by users, rather than to be installed.
func (d Definition) IsSample() bool {
	return slices.ContainsFunc(strings.Split(d.Path, "/"), func(dir string) bool {
		return dir == "samples" || dir == "tests" || dir == "examples"
	})
}

// Find reads all objects for Tekton in the YAML files below the directories dirs of the repository at root, in the
// order of their paths. Other objects that such a file holds are read too, if Kubernetes itself defines their kind,
// since a mistake in a Secret is one as well; they are not returned.
func Find(root string, dirs ...string) ([]Definition, error) {
	var all []Definition
	for _, dir := range dirs {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !isYAML(path) {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			name = filepath.ToSlash(name)
			objects, err := Decode(data)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for _, o := range objects {
				all = append(all, Definition{Path: name, Object: o})
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func isYAML(path string) bool {
	return slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(path))
}

// Decode reads the objects for Tekton out of a stream of YAML documents. A field that the kind does not have, or that
// is there twice, is an error.
func Decode(data []byte) ([]Object, error) {
	decoder, err := newDecoder()
	if err != nil {
		return nil, err
	}
	var all []Object
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var head metav1.TypeMeta
		if err := yaml.Unmarshal(document, &head); err != nil {
			return nil, err
		}
		kind := head.GroupVersionKind()
		if kind.Group != group && !scheme.Scheme.Recognizes(kind) {
			continue // of another project, or no object at all
		}
		decoded, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return nil, err
		}
		if kind.Group != group {
			continue
		}
		object, ok := decoded.(Object)
		if !ok {
			return nil, fmt.Errorf("kind %s is not one that Tekton validates", kind)
		}
		all = append(all, object)
	}
}

func newDecoder() (runtime.Decoder, error) {
	kinds := runtime.NewScheme()
	err := errors.Join(scheme.AddToScheme(kinds), v1.AddToScheme(kinds), v1beta1.AddToScheme(kinds))
	if err != nil {
		return nil, err
	}
	return serializer.NewCodecFactory(kinds, serializer.EnableStrict).UniversalDeserializer(), nil
}

// WithFlags is a context in which Tekton is installed with these feature flags, such as enable-api-fields, and an object
// is about to be created.
func WithFlags(ctx context.Context, flags map[string]string) (context.Context, error) {
	parsed, err := config.NewFeatureFlagsFromMap(flags)
	if err != nil {
		return nil, err
	}
	c := config.FromContextOrDefaults(ctx)
	c.FeatureFlags = parsed
	return apis.WithinCreate(config.ToContext(ctx, c)), nil
}

// Admit does what Tekton's webhook does with a new object: sets defaults, then validates. The object is a copy with
// the defaults; an object with generateName has got a name by then.
func Admit(ctx context.Context, object Object) (Object, error) {
	admitted, ok := object.DeepCopyObject().(Object)
	if !ok {
		return nil, fmt.Errorf("a copy of %T is something else", object)
	}
	if admitted.GetName() == "" && admitted.GetGenerateName() != "" {
		admitted.SetName(admitted.GetGenerateName() + "x7k2p")
	}
	admitted.SetDefaults(ctx)
	if err := admitted.Validate(ctx); err != nil {
		return nil, err
	}
	return admitted, nil
}
