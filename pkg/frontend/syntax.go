package frontend

import (
	"fmt"
	"strconv"
	"strings"

	imageref "github.com/distribution/reference"
)

// The version of the Dockerfile language that is built in, which is BuildKit's v0.34.
const (
	syntaxMajor = 1
	syntaxMinor = 28
)

// checkSyntax says whether the image that a syntax line names is the frontend that is built
// in. It is if the repository is docker/dockerfile or docker/dockerfile-upstream on any
// registry, or such a repository below another path: mirrors and pull-through caches keep these
// two components. Which tag or digest is asked for makes no difference, as the language only
// grows; a newer one than the built-in gets a warning.
func (g *gatewayClient) checkSyntax(image string) error {
	named, err := imageref.ParseNormalizedNamed(image)
	if err != nil {
		return fmt.Errorf("syntax %q is not an image reference: %w", image, err)
	}
	if !isDockerfileFrontend(imageref.Path(named)) {
		return &UnsupportedError{
			What: fmt.Sprintf("the frontend %s", image),
			Reason: "only docker/dockerfile is built in, and no other frontend can be run; " +
				"remove the syntax line or BUILDKIT_SYNTAX",
		}
	}
	if tagged, ok := named.(imageref.Tagged); ok && newerSyntax(tagged.Tag()) {
		g.report(Warning{
			Rule: "SyntaxVersion",
			Message: fmt.Sprintf("%s is newer than the built-in Dockerfile syntax %d.%d, which is used instead",
				image, syntaxMajor, syntaxMinor),
			Level: 1,
		})
	}
	return nil
}

func isDockerfileFrontend(path string) bool {
	for _, name := range []string{"docker/dockerfile", "docker/dockerfile-upstream"} {
		if path == name || strings.HasSuffix(path, "/"+name) {
			return true
		}
	}
	return false
}

// newerSyntax reports whether a tag such as "1", "1.28.0" or "1.7-labs" stands for a newer
// version than the built-in. Tags that are no versions do not.
func newerSyntax(tag string) bool {
	version, _, _ := strings.Cut(tag, "-")
	parts := strings.Split(version, ".")
	major, err := strconv.Atoi(parts[0])
	if err != nil {
		return false
	}
	if major != syntaxMajor || len(parts) == 1 {
		return major > syntaxMajor
	}
	minor, err := strconv.Atoi(parts[1])
	return err == nil && minor > syntaxMinor
}
