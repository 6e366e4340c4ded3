package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Images is a policy about images in the form that podman, skopeo and CRI-O have it, containers-policy.json(5): by
// transport and scope it lists what is required of an image. It says nothing of where signatures are. It
// is safe for concurrent use.
type Images struct {
	file       string
	fallback   *Demands                       // "default"
	transports map[string]map[string]*Demands // by transport and scope
}

// Demands are what a policy requires of an image. All of them must hold.
type Demands struct {
	// Reject denies the image, whatever else holds.
	Reject bool
	// Signatures are each to be satisfied by a signature of the image; not all need be satisfied by the same one.
	Signatures []*Signed
}

// String is the file that the policy comes from.
func (p *Images) String() string { return p.file }

// LoadImages reads a policy, and the keys and certificates that it names: relative paths are those beside the file. Whatever
// is not understood is an error.
func LoadImages(file string) (*Images, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	dir := filepath.Dir(file)
	p, err := parseImages(data, func(path string) ([]byte, error) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		return os.ReadFile(path)
	})
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", file, err)
	}
	p.file = file
	return p, nil
}

// imagesParser reads a policy, and with read the files that it names.
type imagesParser struct {
	read func(path string) ([]byte, error)
}

func parseImages(data []byte, read func(string) ([]byte, error)) (*Images, error) {
	x := imagesParser{read}
	p := &Images{transports: map[string]map[string]*Demands{}}
	err := object(data, func(name string) any {
		switch name {
		case "default":
			return x.demands(&p.fallback)
		case "transports":
			return x.transports(p.transports)
		}
		return nil
	})
	if err == nil && p.fallback == nil {
		err = errors.New(`there is no "default"`)
	}
	return p, err
}

func (x imagesParser) transports(into map[string]map[string]*Demands) func([]byte) error {
	return func(data []byte) error {
		return object(data, func(transport string) any {
			into[transport] = map[string]*Demands{}
			return x.scopes(transport, into[transport])
		})
	}
}

func (x imagesParser) scopes(transport string, into map[string]*Demands) func([]byte) error {
	return func(data []byte) error {
		return object(data, func(scope string) any {
			return func(data []byte) error {
				if err := checkScope(transport, scope); err != nil {
					return err
				}
				var d *Demands
				if err := x.demands(&d)(data); err != nil {
					return err
				}
				into[scope] = d
				return nil
			}
		})
	}
}

func (x imagesParser) demands(into **Demands) func([]byte) error {
	return func(data []byte) error {
		var list []json.RawMessage
		if err := json.Unmarshal(data, &list); err != nil {
			return err
		}
		if len(list) == 0 {
			return errors.New("it requires nothing; insecureAcceptAnything says so on purpose")
		}
		d := &Demands{}
		for i, raw := range list {
			if err := x.requirement(d, raw); err != nil {
				return fmt.Errorf("requirement %d: %w", i+1, err)
			}
		}
		*into = d
		return nil
	}
}

// requirement adds one to d.
func (x imagesParser) requirement(d *Demands, data []byte) error {
	kind, err := typeOf(data)
	if err != nil {
		return err
	}
	bare := func(name string) any { // that has nothing but its type
		if name == "type" {
			return &kind
		}
		return nil
	}
	switch kind {
	case "insecureAcceptAnything":
		return object(data, bare)
	case "reject":
		d.Reject = true
		return object(data, bare)
	case "sigstoreSigned":
		s, err := x.signed(data)
		d.Signatures = append(d.Signatures, s)
		return err
	case "signedBy", "signedBaseLayer":
		return fmt.Errorf("%s is not supported: signatures are verified by sigstore's rules, not by GPG's; sigstoreSigned is the requirement for them", kind)
	}
	return fmt.Errorf("there is no type %q", kind)
}

// typeOf is the type that an object states.
func typeOf(data []byte) (string, error) {
	var kind string
	err := object(data, func(name string) any {
		if name == "type" {
			return &kind
		}
		return func([]byte) error { return nil }
	})
	if err == nil && kind == "" {
		err = errors.New("it has no type")
	}
	return kind, err
}

// For is what the policy requires of an image.
func (p *Images) For(i *Image) *Demands {
	scopes := p.transports[i.transport]
	for _, s := range i.scopes() {
		if d, ok := scopes[s]; ok {
			return d
		}
	}
	if d, ok := scopes[""]; ok {
		return d
	}
	return p.fallback
}

// The transports of images that builds read.
const (
	transportDocker        = "docker"
	transportLayout        = "oci"
	transportLayoutArchive = "oci-archive"
	transportDockerArchive = "docker-archive"
)

// checkScope finds scopes that no image could ever be in.
func checkScope(transport, scope string) error {
	switch {
	case scope == "":
		return nil
	case transport == transportDocker:
		if registry, _, _ := strings.Cut(scope, "/"); registry != strings.ToLower(registry) {
			return errors.New("registries are written in lower case")
		}
	case transport == transportDockerArchive:
		return fmt.Errorf("%s has no scopes", transport)
	case transport == transportLayout, transport == transportLayoutArchive:
		// The name of an image in it may have any form.
		if path, _, _ := strings.Cut(scope, ":"); !filepath.IsAbs(path) || filepath.Clean(path) != path {
			return errors.New("the scope is no absolute path, or not a clean one")
		}
		if scope == "/" {
			return errors.New(`the scope of all paths is ""`)
		}
	}
	return nil
}
