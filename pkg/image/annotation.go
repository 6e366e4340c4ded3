package image

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// AnnotationTarget is the object that an annotation is set on.
type AnnotationTarget string

// The targets, as the flags name them.
const (
	OnManifest           AnnotationTarget = "manifest"
	OnManifestDescriptor AnnotationTarget = "manifest-descriptor"
	OnIndex              AnnotationTarget = "index"
	OnIndexDescriptor    AnnotationTarget = "index-descriptor"
)

// Annotation is one key and value for one target.
type Annotation struct {
	Target AnnotationTarget
	// Platform limits an annotation on manifests or their descriptors to one
	// platform, in normal form; "" means all.
	Platform   string
	Key, Value string
}

// annotationKey is BuildKit's exporter syntax: annotation[-TARGET]["["PLATFORM"]"].KEY.
var annotationKey = regexp.MustCompile(`^annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)$`)

// IsAnnotationKey reports whether an output's attribute is meant to be an annotation.
func IsAnnotationKey(key string) bool {
	return strings.HasPrefix(key, "annotation.") || strings.HasPrefix(key, "annotation-") || strings.HasPrefix(key, "annotation[")
}

// ParseAnnotationKey reads the attribute of an output, "annotation-manifest[linux/amd64].KEY" or
// simply "annotation.KEY", with its value.
func ParseAnnotationKey(key, value string) (Annotation, error) {
	m := annotationKey.FindStringSubmatch(key)
	if m == nil {
		return Annotation{}, fmt.Errorf("annotation %q is not of the form annotation[-TARGET][[PLATFORM]].KEY", key)
	}
	return newAnnotation(m[1], m[2], m[3], value)
}

// flagTarget is one target of the --annotation flag: TARGET["["PLATFORM"]"].
var flagTarget = regexp.MustCompile(`^([a-z-]+)(?:\[([A-Za-z0-9_/-]+)\])?$`)

// ParseAnnotation reads the --annotation flag as buildx has it: "KEY=VALUE", which is for the
// manifest, or with targets in front, "index,manifest[linux/amd64]:KEY=VALUE".
func ParseAnnotation(s string) ([]Annotation, error) { return parseAnnotation(s, OnManifest) }

// ParseIndexAnnotation is ParseAnnotation where an index is made and no manifest: "KEY=VALUE" is
// for the index.
func ParseIndexAnnotation(s string) ([]Annotation, error) { return parseAnnotation(s, OnIndex) }

func parseAnnotation(s string, otherwise AnnotationTarget) ([]Annotation, error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return nil, fmt.Errorf("annotation %q is not of the form [TARGET[,TARGET…]:]KEY=VALUE", s)
	}
	targets := string(otherwise)
	if t, k, ok := strings.Cut(key, ":"); ok {
		targets, key = t, k
	}
	if key == "" {
		return nil, fmt.Errorf("annotation %q has no key", s)
	}
	var out []Annotation
	for t := range strings.SplitSeq(targets, ",") {
		m := flagTarget.FindStringSubmatch(t)
		if m == nil {
			return nil, fmt.Errorf("annotation %q: %q is no target", s, t)
		}
		a, err := newAnnotation(m[1], m[2], key, value)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func newAnnotation(target, platform, key, value string) (Annotation, error) {
	a := Annotation{Target: AnnotationTarget(target), Key: key, Value: value}
	switch a.Target {
	case "":
		a.Target = OnManifest
	case OnManifest, OnManifestDescriptor:
	case OnIndex, OnIndexDescriptor:
		if platform != "" {
			return Annotation{}, fmt.Errorf("annotation %s: an index has no platform", key)
		}
	default:
		return Annotation{}, fmt.Errorf("annotation %s: unknown target %q: use manifest, manifest-descriptor, index or index-descriptor", key, target)
	}
	if platform != "" {
		p, err := platforms.Parse(platform)
		if err != nil {
			return Annotation{}, fmt.Errorf("annotation %s: %w", key, err)
		}
		a.Platform = platforms.FormatAll(platforms.Normalize(p))
	}
	return a, nil
}

func (s *Spec) validateAnnotations(platform map[string]bool) error {
	for _, a := range s.Annotations {
		switch {
		case a.Platform != "" && !platform[a.Platform]:
			return fmt.Errorf("annotation %s: the image is not built for platform %s", a.Key, a.Platform)
		case s.Docker && a.Target != OnManifest:
			return fmt.Errorf("annotation %s: Docker's media types have no annotations on the %s: use OCI media types", a.Key, a.Target)
		case !s.makesIndex() && (a.Target == OnIndex || a.Target == OnIndexDescriptor):
			return errors.New("annotation " + a.Key + ": an image for a single platform has no index")
		}
	}
	return nil
}

// annotations collects those on one target; p is nil for the index.
func (o *Options) annotations(target AnnotationTarget, p *v1.Platform) map[string]string {
	var general, special []Annotation
	for _, a := range o.Annotations {
		switch {
		case a.Target != target:
		case a.Platform == "":
			general = append(general, a)
		case p != nil && a.Platform == formatPlatform(*p):
			special = append(special, a)
		}
	}
	if len(general)+len(special) == 0 {
		return nil
	}
	m := map[string]string{}
	for _, a := range append(general, special...) {
		m[a.Key] = a.Value
	}
	return m
}
