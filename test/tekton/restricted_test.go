package tekton_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// restrictedTask is the Task for namespaces that enforce the Pod Security Standard "restricted".
const restrictedTask = "slipway-restricted"

// restricted has a build in such a namespace: Tekton's own container fits the standard with a feature flag.
func restricted(b build) build {
	b.task, b.flags = restrictedTask, map[string]string{"set-security-context": "true"}
	return b
}

// users is a Dockerfile whose steps run as several users and give files to further ones, none of which the step itself is.
const users = `FROM REGISTRY/base:1
RUN mkdir /made && echo "$(id -u):$(id -g)" > /made/root && chown 1234:4321 /made/root && chmod 640 /made/root
RUN mkdir /made/home && chown demo:demo /made/home && cp /bin/busybox /made/setuid && chmod 4755 /made/setuid
USER demo
RUN echo "$(id -u):$(id -g)" > /made/home/demo && ! touch /made/other 2> /dev/null
RUN --mount=type=secret,id=token,uid=1000 cat /run/secrets/token > /made/home/secret
USER 2345:5432
WORKDIR /tmp
RUN echo "$(id -u):$(id -g)" > /tmp/numbers
USER root
RUN --mount=type=cache,target=/cache su -s /bin/sh demo -c 'cat /made/root 2> /dev/null || echo denied' > /cache/said && cp /cache/said /made/said
COPY --chown=3456:6543 file /made/copied
`

func checkUsers(t *testing.T, o outcome) {
	t.Helper()
	files := filesOf(t, imageOf(t, o.pushed(t, image, nil)))
	checkContents(t, files, map[string]string{
		"made/root": "0:0\n", "made/home/demo": "1000:1000\n", "made/home/secret": "hidden", "tmp/numbers": "2345:5432\n", "made/said": "denied\n",
		"made/copied": "from the context\n",
	})
	for name, want := range map[string]string{
		"made": "0:0 755", "made/root": "1234:4321 640", "made/home": "1000:1000 755", "made/home/demo": "1000:1000 644", "made/setuid": "0:0 4755",
		"made/home/secret": "1000:1000 644", "tmp/numbers": "2345:5432 644", "made/said": "0:0 644", "made/copied": "3456:6543 644",
	} {
		f, ok := files[name]
		if !ok {
			t.Errorf("the image has no file %s", name)
			continue
		}
		if got := fmt.Sprintf("%d:%d %o", f.Uid, f.Gid, f.Mode&0o7777); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if !strings.Contains(o.log(), "sandbox") {
		t.Errorf("the log does not say how RUN was isolated:\n%s", o.log())
	}
}

// TestRestrictedUsers builds as an ordinary user what only root could build otherwise, and a second time out of a cache on
// a volume that the user may write to.
func TestRestrictedUsers(t *testing.T) {
	cache := t.TempDir()
	if err := os.Chown(cache, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	host := serve(t).Host
	b := restricted(build{
		params:     map[string]any{"IMAGE": image, "CACHE": "true"},
		source:     map[string]string{"Dockerfile": users, "file": "from the context\n"},
		workspaces: map[string]map[string]string{"secrets": {"token": "hidden"}},
		claims:     []string{"cache"}, claimDirs: map[string]string{"cache": cache},
	})
	first := b.runAt(t, host)
	first.succeeded(t)
	checkUsers(t, first)

	second := b.runAt(t, host)
	second.succeeded(t)
	second.pushed(t, image, nil)
	if got, want := second.results["IMAGE_DIGEST"], first.results["IMAGE_DIGEST"]; got != want {
		t.Errorf("out of the cache came %s, want %s", got, want)
	}
	if n := strings.Count(second.log(), "CACHED"); n < 7 {
		t.Errorf("%d steps came out of the cache:\n%s", n, second.log())
	}
}

// TestRestricted has builds of the tests of the other Task, as far as they are not about another isolation.
func TestRestricted(t *testing.T) {
	names := []string{"defaults", "inputs", "outputs", "without a push", "processes", "mirrors", "arguments of the frontend"}
	for _, e := range examples() {
		i := slices.Index(names, e.name)
		if i < 0 {
			continue
		}
		names = slices.Delete(names, i, i+1)
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			o := restricted(e.build).run(t)
			o.succeeded(t)
			e.check(t, o)
		})
	}
	if len(names) > 0 {
		t.Errorf("there are no examples %q", names)
	}
}

// TestRestrictedFails has the failures that differ: those of a RUN, and those of isolations that such a Pod does not have.
func TestRestrictedFails(t *testing.T) {
	host := serve(t).Host
	for name, test := range map[string]struct {
		isolation, reason, message string
		code                       int
	}{
		"a RUN":      {"sandbox", "RunFailed", "Dockerfile:2", 7},
		"namespaces": {"namespace", "IsolationUnavailable", "SETUID", 77},
		"in place":   {"inplace", "IsolationUnavailable", "Dockerfile:2", 77},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := restricted(build{
				params: map[string]any{"IMAGE": image, "ISOLATION": test.isolation},
				source: map[string]string{"Dockerfile": "FROM REGISTRY/base:1\nRUN exit 7\n"},
			}).runAt(t, host)
			o.failed(t, test.code, test.reason, test.message)
			o.notPushed(t, image)
		})
	}
}

// TestRestrictedLogin has the logins of a workspace, and those that Tekton's entrypoint writes to the home directory, which
// has to be the user's to write to.
func TestRestrictedLogin(t *testing.T) {
	server := serveRegistry(t, "127.0.0.1", false, withLogin)
	authorized := remote.WithAuth(&authn.Basic{Username: user, Password: password})
	account := copied(map[string]any{}, nil)
	account.objects = serviceAccount("http://" + server.host)
	account.secrets = map[string]map[string]string{"login": {"username": user, "password": password}}
	builds := loginBuilds(copied)
	builds["service account"] = account
	for _, name := range slices.Sorted(maps.Keys(builds)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, image := restricted(builds[name]).elsewhere(t)
			o := b.runAt(t, server.host)
			o.succeeded(t)
			o.pushed(t, image, nil, authorized)
			if strings.Contains(o.log(), "unsuccessful cred copy") {
				t.Errorf("Tekton cannot write to the home directory:\n%s", o.log())
			}
		})
	}
}

// TestRestrictedContainer asks the kernel what the container is and has.
func TestRestrictedContainer(t *testing.T) {
	b := restricted(build{params: map[string]any{"IMAGE": image}, source: map[string]string{}})
	b.change = func(task *v1.Task) {
		step := &task.Spec.Steps[0]
		step.Image, step.Command, step.Args = debugImage, []string{"/busybox/cat"}, []string{"/proc/self/status"}
	}
	log := b.runAt(t, "registry.example.com").log()
	for _, line := range []string{
		"Uid:\t65532\t65532\t65532\t65532\n", "Gid:\t65532\t65532\t65532\t65532\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n",
		"CapBnd:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapPrm:\t0000000000000000\n",
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the container does not have %s:\n%s", line, log)
		}
	}
}

// TestRestrictedPods holds the Pods of the Task against the standard: with whatever workspaces, but not without the feature
// flag that the README asks for, and not if the step has more than the Task gives it.
func TestRestrictedPods(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	plain := admissible(task(t, restrictedTask))
	everything := plain
	everything.workspaces = map[string]map[string]string{
		"dockerconfig": nil, "sslcertdir": nil, "secrets": nil, "ssh-directory": nil, "cloud-credentials": nil, "signing": nil,
	}
	everything.configMaps = map[string]map[string]string{"image-policy": nil, "source-policy": nil}
	everything.claims = []string{"base-images", "cache"}
	unflagged := plain
	unflagged.flags = nil
	asRoot := plain
	asRoot.change = func(task *v1.Task) {
		root := int64(0)
		task.Spec.Steps[0].SecurityContext.RunAsUser = &root
	}
	unconfined := plain
	unconfined.change = func(task *v1.Task) { task.Spec.Steps[0].SecurityContext.SeccompProfile = nil }
	for name, test := range map[string]struct {
		build build
		fits  bool
	}{
		"as it is":                  {plain, true},
		"with every workspace":      {everything, true},
		"without the feature flag":  {unflagged, false},
		"as root":                   {asRoot, false},
		"without a seccomp profile": {unconfined, false},
		"of the other Task":         {admissible(task(t, "slipway")), false},
	} {
		t.Run(name, func(t *testing.T) {
			p := podOf(t, test.build)
			if test.fits {
				checkLevel(t, evaluator, api.LevelRestricted, api.LatestVersion(), p)
			}
			if got := fits(evaluator, api.LevelRestricted, api.LatestVersion(), p); got != test.fits {
				t.Errorf("it fits: %t, want %t", got, test.fits)
			}
		})
	}
}
