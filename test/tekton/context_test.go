package tekton_test

import (
	"archive/tar"
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/internal/testbase/forge"
)

// contextBuilds have no workspace source: the context is a git repository, which not everybody may read. In their texts,
// HTTPS and SSH are the places of the repository, and KEY is the private key that opens it.
func contextBuilds() map[string]build {
	const token = "GIT_AUTH_TOKEN"
	of := func(url string, workspaces map[string]map[string]string) build {
		return build{
			params:     map[string]any{"IMAGE": image, "CONTEXT_URL": url, "CONTEXT": "app", "DOCKERFILE": "docker/Dockerfile"},
			workspaces: workspaces,
		}
	}
	return map[string]build{
		"token":     of("HTTPS#v1", map[string]map[string]string{"secrets": {token: "open sesame"}}),
		"key":       of("SSH#v1", map[string]map[string]string{"ssh-directory": {"ssh-privatekey": "KEY"}}),
		"directory": of("SSH#v1", map[string]map[string]string{"ssh-directory": {"config": "Host *\n", "id_ed25519": "KEY", "known_hosts": ""}}),
	}
}

// placed has the places and the key in the build's texts.
func (b build) placed(https, ssh, key string) build {
	places := strings.NewReplacer("HTTPS", https, "SSH", ssh)
	b.params["CONTEXT_URL"] = places.Replace(b.params["CONTEXT_URL"].(string))
	for _, files := range b.workspaces {
		for name, content := range files {
			files[name] = strings.ReplaceAll(content, "KEY", key)
		}
	}
	return b
}

// TestContextURL builds the repository as it is at a tag, where RUN gets an agent with the key.
func TestContextURL(t *testing.T) {
	const dockerfile = `FROM REGISTRY/base:1
COPY file /
RUN --mount=type=ssh [ ! -S "$SSH_AUTH_SOCK" ] || echo there > /agent
`
	f, key, host := forge.New(t), forge.NewKey(t), serve(t).Host
	r := f.Repository(t, "team/app.git")
	r.Commit(map[string]string{"docker/Dockerfile": fill(dockerfile, host), "app/file": "of v1\n", "file": "not of app\n"})
	forge.Git(t, r.Dir, "tag", "v1")
	r.Commit(map[string]string{"app/file": "of main\n"})
	f.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if _, password, _ := r.BasicAuth(); password == "open sesame" {
			return false
		}
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	address, _ := f.SSH(t, key.Public)
	ssh := "ssh://git@" + address + "/team/app.git"
	for name, b := range contextBuilds() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, image := b.placed(r.URL, ssh, string(key.PEM(t, ""))).elsewhere(t)
			o := b.runAt(t, host)
			o.succeeded(t)
			files := filesOf(t, imageOf(t, o.pushed(t, image, nil)))
			checkContents(t, files, map[string]string{"file": "of v1\n"})
			if _, agent := files["agent"]; agent != (b.workspaces["ssh-directory"] != nil) {
				t.Errorf("RUN had an agent: %t", agent)
			}
		})
	}
	t.Run("without a key", func(t *testing.T) {
		t.Parallel()
		b := contextBuilds()["key"].placed(r.URL, ssh, "")
		b.workspaces = nil
		b.runAt(t, host).failed(t, 1, "BuildFailed", "add --ssh default")
	})
	t.Run("no key in the Secret", func(t *testing.T) {
		t.Parallel()
		contextBuilds()["key"].placed(r.URL, ssh, "").runAt(t, host).failed(t, 2, "UsageError", "no file in /workspace/ssh-directory is a private key")
	})
}

// TestContextInBucket builds an archive in a bucket, with the credentials of the workspace cloud-credentials.
func TestContextInBucket(t *testing.T) {
	host := serve(t).Host
	archive := tarOf(t, map[string]string{
		"docker/Dockerfile": fill("FROM REGISTRY/base:1\nCOPY . /\n", host), ".dockerignore": "*", "app/file": "of the bucket\n", "app/log": "", "app/.dockerignore": "log\n",
	})
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.Contains(r.Header.Get("Authorization"), "Credential=of-the-secret/"):
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path != "/bucket/team/app.tar":
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = w.Write(archive)
		}
	}))
	t.Cleanup(s3.Close)
	in := func(key string) build {
		return build{
			params: map[string]any{"IMAGE": image, "CONTEXT_URL": "s3://bucket/team/app.tar", "CONTEXT": "app", "DOCKERFILE": "docker/Dockerfile"},
			workspaces: map[string]map[string]string{"cloud-credentials": {
				"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "open sesame", "S3_ENDPOINT": s3.URL, "S3_FORCE_PATH_STYLE": "true",
			}},
		}
	}
	t.Run("credentials", func(t *testing.T) {
		b, image := in("of-the-secret").elsewhere(t)
		o := b.runAt(t, host)
		o.succeeded(t)
		files := filesOf(t, imageOf(t, o.pushed(t, image, nil)))
		checkContents(t, files, map[string]string{"file": "of the bucket\n"})
		if _, ok := files["log"]; ok {
			t.Error(".dockerignore does not count")
		}
	})
	t.Run("credentials of others", func(t *testing.T) {
		in("of-somebody-else").runAt(t, host).failed(t, 1, "BuildFailed", "the credentials for it are missing or do not suffice")
	})
}

// tarOf is an archive of files, content by name.
func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
		if err == nil {
			_, err = w.Write([]byte(content))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
