package e2e

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
)

// auths is a Docker configuration with one login.
func auths(key, user, password string) string {
	return fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, key, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// Every command that talks to registries finds the login that works behind those that do not.
func TestCommandsTryAllCredentials(t *testing.T) {
	registry := distribution.ServeTo(t, "ann", "hidden")
	host := registry.Host
	_, base := registryWithBase(t)
	needTool(t, "skopeo")
	tool(t, "skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false", "--dest-creds=ann:hidden", "docker://"+base, "docker://"+host+"/base:1")

	context := write(t, map[string]string{"Dockerfile": "FROM " + host + "/base:1\nCOPY x /x\n", "x": "x"})
	wrong := write(t, map[string]string{".dockerconfigjson": auths(host, "tom", "hidden-wrong")})
	home := write(t, map[string]string{".docker/config.json": auths(host, "ann", "hidden")})
	nobody := write(t, map[string]string{".docker/config.json": auths(host, "eve", "hidden-wrong")})
	for _, command := range []string{
		"build -t HOST/team/app:1 --cache --cache-repo HOST/cache CONTEXT",
		"plan --cache --cache-repo HOST/cache CONTEXT",
		"index -t HOST/team/index:1 HOST/team/app:1",
		"cache warm --cache-dir DIR HOST/base:1",
		"cache prune --max-age 1h HOST/cache",
	} {
		t.Run(strings.Join(strings.Fields(command)[:2], " "), func(t *testing.T) {
			args := strings.Fields(strings.NewReplacer("HOST", host, "CONTEXT", context, "DIR", t.TempDir()).Replace(command))
			// Flags come before arguments.
			args = append(args[:len(args)-1:len(args)-1], "--docker-config="+wrong, "--insecure-registry="+host, args[len(args)-1])
			o := mustSlipway(t, home, args...)
			if strings.Contains(o.stdout+o.stderr, "hidden") {
				t.Errorf("a password is shown:\n%s%s", o.stdout, o.stderr)
			}
			o = slipway(t, nobody, args...)
			if o.code == 0 || !strings.Contains(o.stderr, "tried: --docker-config/.dockerconfigjson ("+host+"), $HOME/.docker/config.json ("+host+"), no credentials") ||
				strings.Contains(o.stdout+o.stderr, "hidden") {
				t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(registry.Storage, "docker/registry/v2/repositories/team/index/_manifests/tags/1")); err != nil {
		t.Error(err)
	}
}
