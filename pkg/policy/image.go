package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
)

// Image is an image as policies know it: by how a build names it.
type Image struct {
	transport string
	// named is the image in a registry, with either a tag or a digest; nil for others.
	named reference.Named
	// path is where the local layout or archive is, and id what of it is meant.
	path, id string
}

// NewImage is the image of a registry that a reference names. With a digest, a tag says nothing; neither does the case of the
// registry's name.
func NewImage(ref string) (*Image, error) {
	named, err := parseImage(ref)
	if err != nil {
		return nil, fmt.Errorf("image reference %q: %w", ref, err)
	}
	return &Image{transport: transportDocker, named: named}, nil
}

func parseImage(ref string) (reference.Named, error) {
	given, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return nil, err
	}
	// Again from the start, as "DOCKER.IO/alpine" becomes complete only in lower case.
	named, err := reference.ParseNormalizedNamed(strings.ToLower(reference.Domain(given)) + "/" + reference.Path(given))
	if err != nil {
		return nil, err
	}
	switch given := given.(type) {
	case reference.Digested:
		return reference.WithDigest(named, given.Digest())
	case reference.Tagged:
		return reference.WithTag(named, given.Tag())
	}
	return reference.TagNameOnly(named), nil
}

// NewLocalImage is the image called id, a tag or a digest, in an OCI layout or an archive: one of a layout, if hasLayout says so,
// or else one of "docker save".
func NewLocalImage(path, id string, hasLayout bool) (*Image, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	if real, err = filepath.Abs(real); err != nil {
		return nil, err
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, err
	}
	i := &Image{transport: transportDockerArchive, path: real, id: id}
	switch {
	case info.IsDir():
		i.transport = transportLayout
	case hasLayout:
		i.transport = transportLayoutArchive
	}
	return i, nil
}

// String is the image's full name.
func (i *Image) String() string {
	if i.named != nil {
		return i.named.String()
	}
	return i.transport + ":" + strings.TrimSuffix(i.path+":"+i.id, ":")
}

// scopes are those that the image is in, the narrowest first.
func (i *Image) scopes() []string {
	switch i.transport {
	case transportDocker:
		return append([]string{i.named.String()}, repositoryScopes(i.named.Name())...)
	case transportLayout, transportLayoutArchive:
		scopes := []string{i.path + ":" + i.id}
		for path := i.path; path != "/" && path != "."; path = filepath.Dir(path) {
			scopes = append(scopes, path)
		}
		return scopes
	}
	return nil
}

// repositoryScopes are a repository, the namespaces that it is in, its registry, and the domains above that, which a
// policy writes as *.example.com. These have no ports.
func repositoryScopes(repository string) []string {
	var scopes []string
	name := repository
	for {
		scopes = append(scopes, name)
		slash := strings.LastIndexByte(name, '/')
		if slash < 0 {
			break
		}
		name = name[:slash]
	}
	host, _, _ := strings.Cut(name, ":")
	for {
		_, parent, ok := strings.Cut(host, ".")
		if !ok {
			return scopes
		}
		scopes = append(scopes, "*."+parent)
		host = parent
	}
}
