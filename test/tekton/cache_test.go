package tekton_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// cachedSteps has what a second build must not execute: it would give another image.
const cachedSteps = `FROM REGISTRY/base:1 AS one
WORKDIR /made
RUN head -c 16 /dev/urandom > random
FROM scratch
COPY --from=one /made /made
COPY file /
`

// cacheFlags are what EXTRA_ARGS has for the cache.
func cacheFlags() []string {
	return []string{"--cache-copy-layers=true", "--cache-run-layers=true", "--cache-write-timeout=1m"}
}

// cacheBuilds keep results in each kind of place. BUCKETS is the address of a server for buckets.
func cacheBuilds() map[string]build {
	of := func(params map[string]any) build {
		params["IMAGE"], params["CACHE_TTL"] = image, "1h"
		return build{params: params, source: map[string]string{"Dockerfile": cachedSteps, "file": "text\n"}}
	}
	inVolume := of(map[string]any{"CACHE": "true"})
	inVolume.claims = []string{"cache"}
	inPart := of(map[string]any{"CACHE": "true", "CACHE_REPO": "/workspace/cache/app"})
	inPart.claims = []string{"cache"}
	inBucket := of(map[string]any{"CACHE": "true", "CACHE_REPO": "s3://results/app"})
	inBucket.workspaces = map[string]map[string]string{"cloud-credentials": {
		"AWS_ACCESS_KEY_ID": bucketUser, "AWS_SECRET_ACCESS_KEY": "hidden", "S3_ENDPOINT": "http://BUCKETS\n", "S3_FORCE_PATH_STYLE": "true",
	}}
	return map[string]build{
		"beside the image": of(map[string]any{"CACHE": "true"}),
		"repository":       of(map[string]any{"CACHE": "true", "CACHE_REPO": "REGISTRY/cache/app", "EXTRA_ARGS": cacheFlags()}),
		"apart": of(map[string]any{
			"CACHE_FROM": []string{"REGISTRY/cache/other", "REGISTRY/cache/app"}, "CACHE_TO": []string{"REGISTRY/cache/app"},
		}),
		"volume":         inVolume,
		"part of volume": inPart,
		"bucket":         inBucket,
	}
}

// TestCache builds twice, each time in a new pod. The second one executes nothing and gives the same image.
func TestCache(t *testing.T) {
	for name, b := range cacheBuilds() {
		for _, seccomp := range both() {
			title := name
			if seccomp {
				title += " without namespaces"
			}
			t.Run(title, func(t *testing.T) {
				t.Parallel()
				b, host := b, serve(t).Host
				b.seccomp = seccomp
				b.workspaces = placeBuckets(b.workspaces, serveBuckets(t))
				b.claimDirs = claimDirs(t, b.claims)
				first := b.runAt(t, host)
				first.succeeded(t)
				second := b.runAt(t, host)
				second.succeeded(t)
				second.pushed(t, image, nil)
				if was, is := first.results["IMAGE_DIGEST"], second.results["IMAGE_DIGEST"]; was != is {
					t.Errorf("the image is %s, was %s\n%s", is, was, second.log())
				}
				if strings.Contains(first.log(), "CACHED") {
					t.Errorf("the first build has found something:\n%s", first.log())
				}
				checkCached(t, second.log())
				if strings.Contains(first.log()+second.log(), "hidden") {
					t.Error("the log has the secret key")
				}
				for _, dir := range b.claimDirs {
					checkKept(t, dir)
				}
			})
		}
	}
}

// checkCached wants every step of cachedSteps to be found.
func checkCached(t *testing.T, log string) {
	t.Helper()
	numbers := map[string]string{} // of steps, by what they do
	for line := range strings.Lines(log) {
		number, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		for _, instruction := range []string{"WORKDIR /made", "RUN head", "COPY --from=one", "COPY file"} {
			if strings.HasPrefix(what, "[") && strings.Contains(what, instruction) {
				numbers[instruction] = number
			}
		}
	}
	if len(numbers) != 4 {
		t.Errorf("the log has only the steps %v:\n%s", numbers, log)
	}
	for instruction, number := range numbers {
		if !strings.Contains(log, number+" CACHED\n") {
			t.Errorf("%s was executed:\n%s", instruction, log)
		}
	}
}

// claimDirs are new volumes.
func claimDirs(t *testing.T, names []string) map[string]string {
	t.Helper()
	dirs := map[string]string{}
	for _, name := range names {
		dirs[name] = t.TempDir()
	}
	return dirs
}

// checkKept wants results in a volume.
func checkKept(t *testing.T, dir string) {
	t.Helper()
	manifests, err := filepath.Glob(filepath.Join(dir, "manifests/record-*"))
	parts, partErr := filepath.Glob(filepath.Join(dir, "app/manifests/record-*"))
	if err != nil || partErr != nil || len(manifests)+len(parts) < 4 {
		entries, _ := os.ReadDir(dir)
		t.Errorf("the volume has %v", entries)
	}
}

// placeBuckets has the server's address in the credentials.
func placeBuckets(workspaces map[string]map[string]string, host string) map[string]map[string]string {
	placed := map[string]map[string]string{}
	for workspace, files := range workspaces {
		placed[workspace] = map[string]string{}
		for name, content := range files {
			placed[workspace][name] = strings.ReplaceAll(content, "BUCKETS", host)
		}
	}
	return placed
}

// bucketUser is the one whom the server for buckets knows.
const bucketUser = "AKIDEXAMPLE"

// serveBuckets starts as much of an S3 server as a cache needs, in memory. It believes whoever calls himself
// bucketUser.
func serveBuckets(t *testing.T) (host string) {
	t.Helper()
	var mu sync.Mutex
	objects := map[string][]byte{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		object, found := objects[r.URL.Path]
		switch {
		case !strings.Contains(r.Header.Get("Authorization"), "Credential="+bucketUser+"/"):
			http.Error(w, "<Error><Code>AccessDenied</Code></Error>", http.StatusForbidden)
		case r.Method == http.MethodPut:
			data, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			objects[r.URL.Path] = data
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			http.Error(w, r.Method, http.StatusMethodNotAllowed)
		case !found:
			http.Error(w, "<Error><Code>NoSuchKey</Code></Error>", http.StatusNotFound)
		default:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(object))
		}
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// TestCacheIsOnlyRead has a build that takes results and keeps none.
func TestCacheIsOnlyRead(t *testing.T) {
	host := serve(t).Host
	b := cacheBuilds()["volume"]
	b.claimDirs = claimDirs(t, b.claims)
	b.params["EXTRA_ARGS"] = []string{noPushCache}
	o := b.runAt(t, host)
	o.succeeded(t)
	if entries, err := os.ReadDir(b.claimDirs["cache"]); err != nil || len(entries) > 0 {
		t.Errorf("the volume has %v, %v", entries, err)
	}
}

// noPushCache is the flag by which nothing is kept.
const noPushCache = "--no-push-cache"

// TestWrongCredentials builds nevertheless, and says why nothing is kept.
func TestWrongCredentials(t *testing.T) {
	b := cacheBuilds()["bucket"]
	b.workspaces = placeBuckets(b.workspaces, serveBuckets(t))
	b.workspaces["cloud-credentials"]["AWS_ACCESS_KEY_ID"] = "SOMEBODY"
	o := b.run(t)
	o.succeeded(t)
	o.pushed(t, image, nil)
	if !strings.Contains(o.log(), "s3://results/app") {
		t.Errorf("the log does not say that the cache cannot be used:\n%s", o.log())
	}
	b.workspaces["cloud-credentials"]["accesskey"] = "hidden"
	o = b.run(t)
	o.failed(t, 2, "UsageError", "/workspace/cloud-credentials/accesskey: it is neither")
}

// policyBuilds are builds of what a policy forbids.
func policyBuilds() map[string]build {
	const policy = `{"version":1,"rules":[{"action":"DENY","selector":{"identifier":"docker-image://*"}}]}`
	of := func(file string, workspaces map[string]map[string]string) build {
		return build{
			params:     map[string]any{"IMAGE": image, "SOURCE_POLICY_FILE": file},
			source:     map[string]string{"Dockerfile": "FROM REGISTRY/base:1\n", "policy.json": policy},
			configMaps: workspaces,
		}
	}
	return map[string]build{
		"usual name":    of("", map[string]map[string]string{"source-policy": {"policy.json": policy}}),
		"another name":  of("rules.json", map[string]map[string]string{"source-policy": {"rules.json": policy}}),
		"of the source": of("/workspace/source/policy.json", nil),
	}
}

// TestSourcePolicy wants what is forbidden not to be built, and no policy that is asked for to be passed over.
func TestSourcePolicy(t *testing.T) {
	for name, b := range policyBuilds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b.run(t).failed(t, 1, "PolicyDenied", "Dockerfile:1: ", "REGISTRY/base:1")
		})
	}
	t.Run("another name than that of the file", func(t *testing.T) {
		t.Parallel()
		b := policyBuilds()["another name"]
		b.params["SOURCE_POLICY_FILE"] = ""
		b.run(t).failed(t, 2, "UsageError", "has no policy.json")
	})
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		b := policyBuilds()["usual name"]
		b.params["SOURCE_POLICY_FILE"] = "rules.json"
		b.run(t).failed(t, 2, "UsageError", "rules.json: no such file")
	})
	t.Run("nothing in the ConfigMap", func(t *testing.T) {
		t.Parallel()
		b := policyBuilds()["usual name"]
		b.configMaps["source-policy"] = nil
		b.run(t).succeeded(t)
	})
}

// imagePolicyBuilds are builds of what a policy about images denies.
func imagePolicyBuilds() map[string]build {
	const (
		reject = `{"default": [{"type": "reject"}]}`
		signed = `{"default": [{"type": "sigstoreSigned", "keyPath": "team.pub"}]}`
		key    = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEmAS4aneaI6KPXxC6tr+uw4pioqBJ\nWyPPOCra8SQkMrzXDNPgTkJuKnNTHOAau+2/3V+awAq/rwGHZ3nAdLCbNg==\n-----END PUBLIC KEY-----\n"
	)
	of := func(file, mode string, policy map[string]string) build {
		return build{
			params:     map[string]any{"IMAGE": image, "IMAGE_POLICY_FILE": file, "IMAGE_POLICY_MODE": mode},
			source:     map[string]string{"Dockerfile": "FROM REGISTRY/base:1\n"},
			configMaps: map[string]map[string]string{"image-policy": policy},
		}
	}
	return map[string]build{
		"usual name":   of("", "enforce", map[string]string{"policy.json": reject}),
		"another name": of("rules.json", "enforce", map[string]string{"rules.json": reject}),
		"not signed":   of("", "enforce", map[string]string{"policy.json": signed, "team.pub": key}),
	}
}

// TestImagePolicy wants images that are denied not to be used, unless warnings are enough.
func TestImagePolicy(t *testing.T) {
	for name, b := range imagePolicyBuilds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b.run(t).failed(t, 1, "PolicyDenied", "Dockerfile:1: ", "REGISTRY/base:1", "denied by policy")
		})
	}
	t.Run("warnings", func(t *testing.T) {
		t.Parallel()
		b := imagePolicyBuilds()["not signed"]
		b.params["IMAGE_POLICY_MODE"] = "warn"
		o := b.run(t)
		o.succeeded(t)
		if !strings.Contains(o.log(), "it has no signature") {
			t.Errorf("there is no warning:\n%s", o.log())
		}
	})
	t.Run("no key", func(t *testing.T) {
		t.Parallel()
		b := imagePolicyBuilds()["not signed"]
		delete(b.configMaps["image-policy"], "team.pub")
		b.run(t).failed(t, 2, "UsageError", "team.pub: no such file")
	})
	t.Run("nothing in the ConfigMap", func(t *testing.T) {
		t.Parallel()
		b := imagePolicyBuilds()["usual name"]
		b.configMaps["image-policy"] = nil
		b.run(t).succeeded(t)
	})
}
