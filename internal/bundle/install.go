package bundle

import (
	"fmt"
	"strings"
)

// RepositoryURL is where the definitions are at home.
const RepositoryURL = "https://github.com/slipway-build/slipway"

// Where releases are published.
const (
	rawURL      = "https://raw.githubusercontent.com/slipway-build/slipway"
	bundleImage = "ghcr.io/slipway-build/slipway-bundle"
)

// referrer is the field by which others refer to a definition of the kind.
func (k Kind) referrer() string {
	switch k {
	case StepAction:
		return "ref"
	case Pipeline:
		return "pipelineRef"
	default:
		return "taskRef"
	}
}

// install shows every way to get the definition into a cluster or to refer to it.
func install(d *Definition) (string, error) {
	tag := "v" + d.Version
	raw := rawURL + "/" + tag + "/" + d.Path
	var b strings.Builder
	fmt.Fprintf(&b, "Into a namespace, to be referred to as `%s: {name: %s}`:\n\n```sh\nkubectl apply -f %s\n```\n\n", d.Kind.referrer(), d.Name, raw)
	b.WriteString("Or not at all: a resolver fetches it when it is used. From the Git repository:\n\n")
	b.WriteString(reference(d, "git", "url", RepositoryURL, "revision", tag, "pathInRepo", d.Path))
	b.WriteString("\nFrom the Tekton bundle of the release, better still by the bundle's digest:\n\n")
	b.WriteString(reference(d, "bundles", "bundle", bundleImage+":"+tag, "kind", d.Kind.Lower(), "name", d.Name))
	b.WriteString("\nBy HTTP, where the digest makes sure that it is this very file:\n\n")
	b.WriteString(reference(d, "http", "url", raw, "digest", "sha256:"+d.Checksum()))
	b.WriteString("\nFrom [Artifact Hub](https://artifacthub.io)")
	if d.Kind == StepAction {
		b.WriteString(" (Tekton Pipelines 1.15 or newer)")
	}
	b.WriteString(":\n\n")
	b.WriteString(reference(d, "hub", "catalog", HubCatalog(d.Kind), "kind", d.Kind.Lower(), "name", d.Name, "version", `"`+d.Version+`"`))
	return b.String(), nil
}

// HubCatalog is the name under which the repository's definitions of a kind are listed at Artifact Hub.
func HubCatalog(k Kind) string { return "slipway-" + k.Plural() }

// reference writes a reference by a resolver, whose params are given as names and values.
func reference(d *Definition, resolver string, params ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "```yaml\n%s:\n  resolver: %s\n  params:\n", d.Kind.referrer(), resolver)
	for i := 0; i < len(params); i += 2 {
		fmt.Fprintf(&b, "    - {name: %s, value: %s}\n", params[i], params[i+1])
	}
	b.WriteString("```\n")
	return b.String()
}
