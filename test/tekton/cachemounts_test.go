package tekton_test

import (
	"maps"
	"strings"
	"testing"
)

// mountBuilds keep what RUN --mount=type=cache has, in each kind of place that the Task has of its own.
func mountBuilds() map[string]build {
	of := func(params map[string]any, claims ...string) build {
		params["IMAGE"], params["CACHE"], params["CACHE_MOUNTS"] = image, "true", []string{"both"}
		return build{
			params: params, claims: claims,
			source: map[string]string{"Dockerfile": `FROM REGISTRY/base:1
ARG WORD
RUN --mount=type=cache,target=/c,id=words --mount=type=cache,target=/d,id=others echo $WORD | tee -a /c/words >> /d/words; cp /c/words /words; cp /d/words /others
`},
		}
	}
	return map[string]build{
		"repository": of(map[string]any{"CACHE_REPO": "REGISTRY/cache/app", "CACHE_MOUNT_MAX_SIZE": "1m"}),
		"volume":     of(map[string]any{}, "cache"),
	}
}

// isolationOf is how RUN is isolated in a pod whose seccomp profile is the runtime's, or none.
func isolationOf(seccomp bool) string {
	if seccomp {
		return "inplace"
	}
	return "namespace"
}

// checkIsolation wants the log to say that RUN was isolated so.
func checkIsolation(t *testing.T, o outcome, seccomp bool) {
	t.Helper()
	if want := "isolation: " + isolationOf(seccomp); !strings.Contains(o.log(), want) {
		t.Errorf("the log does not say %q:\n%s", want, o.log())
	}
}

// TestCacheMounts builds several times, each time in a new pod with a new state directory.
func TestCacheMounts(t *testing.T) {
	for name, b := range mountBuilds() {
		for _, seccomp := range both() {
			t.Run(name+" "+isolationOf(seccomp), func(t *testing.T) {
				t.Parallel()
				host := serve(t).Host
				b := b
				b.seccomp, b.claimDirs = seccomp, claimDirs(t, b.claims)
				for _, turn := range []struct {
					word          string
					modes         []string
					words, others string
				}{
					{"one", []string{"both"}, "one\n", "one\n"},
					{"two", []string{"both"}, "one\ntwo\n", "one\ntwo\n"},
					{"three", []string{"off", "words=both"}, "one\ntwo\nthree\n", "three\n"},
					{"four", nil, "four\n", "four\n"},
					{"five", []string{"restore"}, "one\ntwo\nthree\nfive\n", "one\ntwo\nfive\n"},
				} {
					b.params = maps.Clone(b.params)
					b.params["BUILD_ARGS"], b.params["CACHE_MOUNTS"] = []string{"WORD=" + turn.word}, turn.modes
					o := b.runAt(t, host)
					o.succeeded(t)
					checkIsolation(t, o, seccomp)
					checkContents(t, filesOf(t, imageOf(t, o.pushed(t, image, nil))), map[string]string{"words": turn.words, "others": turn.others})
				}
			})
		}
	}
}

// TestCacheMountsThatGrow start over once they are larger than CACHE_MOUNT_MAX_SIZE.
func TestCacheMountsThatGrow(t *testing.T) {
	host := serve(t).Host
	b := mountBuilds()["repository"]
	b.params["CACHE_MOUNT_MAX_SIZE"] = "6"
	for _, turn := range []struct{ word, words string }{{"one", "one\n"}, {"two", "one\ntwo\n"}, {"three", "three\n"}} {
		b.params["BUILD_ARGS"] = []string{"WORD=" + turn.word}
		o := b.runAt(t, host)
		o.succeeded(t)
		checkContents(t, filesOf(t, imageOf(t, o.pushed(t, image, nil))), map[string]string{"words": turn.words})
	}
}

// TestCacheMountsNeedACache names the flags by which there is one.
func TestCacheMountsNeedACache(t *testing.T) {
	b := mountBuilds()["repository"]
	b.params["CACHE"] = "false"
	b.run(t).failed(t, 2, "UsageError", "give --cache")
}
