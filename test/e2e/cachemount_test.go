package e2e

import (
	"path/filepath"
	"sync"
	"testing"
)

// meeting makes a RUN wait, at most a minute, until the other one has come as far, by a cache that
// both share: meet WORD. $me and $other name the two.
const meeting = `meet() { : >/meet/$1-$me; n=0; until [ -e /meet/$1-$other ]; do n=$((n+1)); [ $n -lt 1200 ] || exit 7; sleep 0.05; done; }; `

// cacheSharing has the script of each of two RUNs that mount one cache at /cache at one time.
var cacheSharing = []struct{ name, sharing, script string }{
	{"shared", "shared", meeting + `meet start; echo $me >/cache/$me; meet written; grep -q $other /cache/$other`},
	{"private", "private", meeting + `meet start; [ ! -e /cache/taken ]; : >/cache/taken; meet taken; rm /cache/taken`},
	{"locked", "locked", `mkdir /cache/taken; sleep 1; rmdir /cache/taken; echo $me >>/cache/log`},
}

// dockerfileOfTwo has two stages that run script, and one that needs both.
func dockerfileOfTwo(sharing, script string) string {
	mounts := "RUN --mount=type=cache,target=/meet,id=meet-" + sharing + " --mount=type=cache,target=/cache,id=cache-" + sharing + ",sharing=" + sharing + " <<EOF\n"
	stage := func(me, other string) string {
		return "FROM $BASE AS " + me + "\n" + mounts + "set -e; me=" + me + " other=" + other + "\n" + script + "\n: >/" + me + "\nEOF\n"
	}
	return "ARG BASE\n" + stage("one", "two") + stage("two", "one") + "FROM scratch\nCOPY --from=one /one /\nCOPY --from=two /two /\n"
}

func TestCacheSharing(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	for _, tt := range cacheSharing {
		context := write(t, map[string]string{"Dockerfile": dockerfileOfTwo(tt.sharing, tt.script)})
		args := []string{"build", "--build-arg", "BASE=" + base, "--insecure-registry", host, "--no-push", "--isolation", "namespace", context}
		t.Run(tt.name+" in one build", func(t *testing.T) {
			mustSlipway(t, t.TempDir(), append(args, "--state-dir", filepath.Join(t.TempDir(), "state"))...)
		})
		t.Run(tt.name+" in two processes", func(t *testing.T) {
			state := filepath.Join(t.TempDir(), "state")
			var wg sync.WaitGroup
			for _, target := range []string{"one", "two"} {
				wg.Go(func() {
					got := slipway(t, t.TempDir(), append(args, "--state-dir", state, "--target", target)...)
					if got.code != 0 {
						t.Errorf("stage %s: exit code %d\n%s", target, got.code, got.stderr)
					}
				})
			}
			wg.Wait()
		})
	}
}

// Each cache is found again by its id, namespace and first content, with the owner and mode that
// were asked for.
func TestCacheIdentity(t *testing.T) {
	needRoot(t)
	host, base := registryWithBase(t)
	context := write(t, map[string]string{
		"Dockerfile": `ARG BASE
FROM scratch AS seed
COPY seed /seed
FROM $BASE
ARG TURN
RUN --mount=type=cache,target=/c case $TURN in first) [ ! -e /c/here ];; second) [ -e /c/here ];; esac && : >/c/here
RUN --mount=type=cache,target=/d,id=/c [ -e /d/here ]
RUN --mount=type=cache,target=/d,id=other [ ! -e /d/here ]
RUN --mount=type=cache,target=/o,uid=12,gid=13,mode=0750 [ "$(stat -c %u:%g:%a /o)" = 12:13:750 ]
RUN --mount=type=cache,target=/s,from=seed,source=seed,id=s echo $TURN >>/s/seed.txt; [ "$(wc -l </s/seed.txt)" -ge 2 ]
RUN --mount=type=cache,target=/r,id=/c,readonly ls /r/here; ! touch /r/x 2>/dev/null
RUN [ ! -e /c ] && [ ! -e /s ] && [ ! -e /r ]
`,
		"seed/seed.txt": "seed\n",
	})
	state := filepath.Join(t.TempDir(), "state")
	for _, args := range [][]string{
		{"TURN=first"}, {"TURN=second"},
		{"TURN=first", "BUILDKIT_CACHE_MOUNT_NS=mine"}, {"TURN=second", "BUILDKIT_CACHE_MOUNT_NS=mine"},
	} {
		all := []string{"build", "--build-arg", "BASE=" + base, "--insecure-registry", host, "--no-push", "--state-dir", state, context}
		for _, a := range args {
			all = append(all, "--build-arg", a)
		}
		mustSlipway(t, t.TempDir(), all...)
	}
}
