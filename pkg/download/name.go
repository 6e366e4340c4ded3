package download

import (
	"mime"
	"net/url"
	"path"
	"strings"
	"unicode"
)

// fileName chooses the name of a downloaded file, by BuildKit's rules: the one that was asked for,
// else the one that the server proposes, else the last element of the URL's path.
func fileName(wanted, disposition string, u *url.URL) string {
	if wanted != "" {
		return safeName(wanted)
	}
	if _, params, err := mime.ParseMediaType(disposition); err == nil {
		if name := params["filename"]; name != "" && !strings.HasSuffix(name, "/") {
			return safeName(name)
		}
	}
	return safeName(path.Base(u.Path))
}

// safeName makes sure that a foreign name is one of a file in a directory.
func safeName(s string) string {
	const fallback = "download"
	name := path.Base(strings.TrimSpace(s))
	if name == "." || name == ".." || name == "/" || strings.ContainsFunc(name, unicode.IsControl) {
		return fallback
	}
	return name
}
