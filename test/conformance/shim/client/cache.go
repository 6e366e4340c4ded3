package client

import (
	"path/filepath"
	"strings"

	real "github.com/moby/buildkit/client"
)

// cacheDir is what the builds of a sandbox keep their results in, as those of a daemon do. It is pruned with
// the state.
func (c *Client) cacheDir() string { return filepath.Join(c.stateDir(), "cache") }

// translateCaches gives the build the cache of its sandbox, and those that the client names.
func (i *invocation) translateCaches() {
	for flag, entries := range map[string][]real.CacheOptionsEntry{"cache-from": i.opt.CacheImports, "cache-to": i.opt.CacheExports} {
		i.flag(flag, i.cacheDir)
		for _, e := range entries {
			i.flag(flag, field("type", e.Type)+fields(e.Attrs))
		}
	}
	for ref := range strings.SplitSeq(i.opt.FrontendAttrs["cache-from"], ",") {
		if ref != "" {
			i.flag("cache-from", "type=registry,ref="+ref)
		}
	}
}
