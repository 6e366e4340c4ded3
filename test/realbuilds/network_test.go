package realbuilds

import (
	"net"
	"net/url"
	"os"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase"
)

// networkFlags let a RUN in a pod reach what this machine reaches: a pod has another name server, which is not there.
func networkFlags(t testing.TB) []string {
	t.Helper()
	registry := testbase.NPMRegistry(t.Context())
	flags := []string{"--build-arg=NPM_CONFIG_REGISTRY=" + registry}
	parsed, err := url.Parse(registry)
	if err != nil {
		t.Fatal(err)
	}
	hosts := append(testbase.DebianHosts(), parsed.Hostname())
	for _, name := range []string{"http_proxy", "https_proxy"} {
		proxy := os.Getenv(name)
		if proxy == "" {
			continue
		}
		flags = append(flags, "--build-arg="+name+"="+proxy)
		if parsed, err := url.Parse(proxy); err == nil {
			hosts = append(hosts, parsed.Hostname())
		}
	}
	for _, host := range hosts {
		addresses, err := net.DefaultResolver.LookupNetIP(t.Context(), "ip4", host)
		if err != nil {
			t.Logf("the name %s is left to a proxy: %v", host, err)
			continue
		}
		flags = append(flags, "--add-host="+host+":"+addresses[0].String())
	}
	return flags
}
