package credentials

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// hostOf is the host of a repository's registry, as it is compared: in lower case, without the port that is
// everybody's, and Docker Hub always by one name.
func hostOf(repo name.Repository) string { return canonicalHost(repo.RegistryStr()) }

func canonicalHost(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ":443")
	switch host {
	case "docker.io", "registry-1.docker.io":
		return name.DefaultRegistry
	}
	return host
}

// below reports whether host is a proper subdomain of domain.
func below(host, domain string) bool {
	label, ok := strings.CutSuffix(host, "."+domain)
	return ok && label != "" && !strings.HasSuffix(label, ".")
}

// scopes are the keys that a login for a repository may be kept under, the longest first: the repository, what it lies in,
// its registry.
func scopes(repo name.Repository) []string {
	host := hostOf(repo)
	var all []string
	for path := repo.RepositoryStr(); path != ""; {
		all = append(all, host+"/"+path)
		i := strings.LastIndexByte(path, '/')
		path = path[:max(i, 0)]
	}
	return append(all, host)
}

// scopeOf reads the key of a login in a configuration: "HOST", "HOST/PATH", "https://HOST", and as Docker wrote it at
// first, "https://HOST/v1/".
func scopeOf(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	host, path, _ := strings.Cut(strings.TrimRight(key, "/"), "/")
	if host = canonicalHost(host); path == "" || path == "v1" || path == "v2" {
		return host
	}
	return host + "/" + path
}
