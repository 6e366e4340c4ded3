package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/secret"
)

// archive is a tar of files of 2025-05-05T05:05:05Z, content by name.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1746421505, 0), Uid: 7}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// web serves files, content by path, and the repositories in a directory with git's own program.
func web(t *testing.T, files map[string][]byte, repositories string) string {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	backend := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env: []string{
			"GIT_PROJECT_ROOT=" + repositories, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		},
		Stderr: io.Discard,
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := files[r.URL.Path]
		switch {
		case ok && strings.HasPrefix(r.URL.Path, "/private/") && r.Header.Get("Authorization") != "Bearer t":
			w.WriteHeader(http.StatusUnauthorized)
		case ok:
			w.Header().Set("Last-Modified", "Mon, 05 May 2025 05:05:05 GMT")
			_, _ = w.Write(data)
		case err == nil && strings.Contains(r.URL.Path, ".git/"):
			backend.ServeHTTP(w, r)
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// gitRepository makes a bare repository with one commit of files.
func gitRepository(t *testing.T, bare string, files map[string]string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "-A"}, {"commit", "-q", "-m", "x"}, {"tag", "-a", "-m", "x", "v1"}, {"clone", "-q", "--bare", ".", bare},
	} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "HOME=/nonexistent", "GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@b.c",
			"GIT_COMMITTER_NAME=C", "GIT_COMMITTER_EMAIL=c@d.e", "GIT_COMMITTER_DATE=2025-05-05T05:05:05Z",
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
}

// built builds and gives the files of the result: "content" by name.
func built(t *testing.T, o Options) (map[string]string, error) {
	t.Helper()
	dest := t.TempDir()
	o.StateDir, o.Progress, o.ProgressTo = t.TempDir(), "plain", io.Discard
	o.Outputs = []string{"type=local,dest=" + dest}
	if _, err := Run(t.Context(), o); err != nil {
		return nil, err
	}
	all := map[string]string{}
	err := filepath.WalkDir(dest, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			var data []byte
			data, err = os.ReadFile(p)
			all[strings.TrimPrefix(p, dest+"/")] = string(data)
		}
		return err
	})
	return all, err
}

func TestContexts(t *testing.T) {
	dir := t.TempDir()
	gitRepository(t, filepath.Join(dir, "r.git"), map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "root", "sub/Dockerfile": "FROM scratch\nCOPY f /\n", "sub/f": "sub"})
	plain := archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "tar", "sub/f": "tar sub", "other.Dockerfile": "FROM scratch\nCOPY f /other\n"})
	data := gzipped(t, plain)
	url := web(t, map[string][]byte{
		"/c.tar.gz": data, "/private/c": data, "/Dockerfile": []byte("FROM scratch\nCOPY Dockerfile /d\n"), "/f": []byte("from the web"),
	}, dir)
	file := filepath.Join(dir, "c.tar.gz")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "d"), 0o755), os.WriteFile(filepath.Join(dir, "d/f"), []byte("in a directory"), 0o644)); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(dir, "mine")
	if err := os.WriteFile(mine, []byte("FROM scratch\nCOPY f /mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	stdin := func(s string) io.Reader { return strings.NewReader(s) }
	t.Setenv("TOKEN", "t")
	auth := []secret.Spec{{ID: "HTTP_AUTH_TOKEN_127.0.0.1", Env: "TOKEN"}}
	empty := t.TempDir()

	for name, tt := range map[string]struct {
		o         Options
		want      map[string]string
		message   string // of the error, if want is nil
		transient bool
	}{
		"git":                    {Options{Context: url + "/r.git"}, map[string]string{"f": "root"}, "", false},
		"git with subdirectory":  {Options{Context: url + "/r.git#v1:sub"}, map[string]string{"f": "sub"}, "", false},
		"git with sub path":      {Options{Context: url + "/r.git#main", ContextSubPath: "/sub"}, map[string]string{"f": "sub"}, "", false},
		"git with Dockerfile":    {Options{Context: url + "/r.git", Dockerfile: "sub/Dockerfile"}, map[string]string{"f": "root"}, "", false},
		"git with my Dockerfile": {Options{Context: url + "/r.git", Dockerfile: mine}, map[string]string{"mine": "root"}, "", false},
		"git with Dockerfile on standard input": {
			Options{Context: url + "/r.git", Dockerfile: "-", Stdin: stdin("FROM scratch\nCOPY f /in\n")}, map[string]string{"in": "root"}, "", false,
		},
		"git with no such ref":    {Options{Context: url + "/r.git#nope"}, nil, `does not contain ref "nope"`, false},
		"web with archive":        {Options{Context: url + "/c.tar.gz"}, map[string]string{"f": "tar"}, "", false},
		"web with sub path":       {Options{Context: url + "/c.tar.gz", ContextSubPath: "sub"}, map[string]string{"f": "tar sub"}, "", false},
		"web with Dockerfile":     {Options{Context: url + "/c.tar.gz", Dockerfile: "other.Dockerfile"}, map[string]string{"other": "tar"}, "", false},
		"web with private":        {Options{Context: url + "/private/c", Secrets: auth}, map[string]string{"f": "tar"}, "", false},
		"web with no credentials": {Options{Context: url + "/private/c"}, nil, "401", false},
		"web with plain file":     {Options{Context: url + "/Dockerfile"}, nil, "Dockerfile", false}, // the file is named "context" in it
		"web with missing":        {Options{Context: url + "/nope"}, nil, "404", false},
		"web with nobody there":   {Options{Context: "http://127.0.0.1:1/nope"}, nil, "connection refused", true},
		"tar":                     {Options{Context: "tar://" + file}, map[string]string{"f": "tar"}, "", false},
		"tar with sub path":       {Options{Context: "tar://" + file, ContextSubPath: "/sub"}, map[string]string{"f": "tar sub"}, "", false},
		"tar with Dockerfile":     {Options{Context: "tar://" + file, Dockerfile: "other.Dockerfile"}, map[string]string{"other": "tar"}, "", false},
		"tar with my Dockerfile":  {Options{Context: "tar://" + file, Dockerfile: mine}, map[string]string{"mine": "tar"}, "", false},
		"tar with no Dockerfile":  {Options{Context: "tar://" + file, Dockerfile: "nope"}, nil, "c.tar.gz: the archive has no file nope", false},
		"tar with no sub path":    {Options{Context: "tar://" + file, ContextSubPath: "f"}, nil, "directory f of the archive", false},
		"tar with missing":        {Options{Context: "tar:///nope"}, nil, "/nope is not an archive", false},
		"tar that is none":        {Options{Context: "tar://" + mine}, nil, "mine: it is no tar archive", false},
		"tar on standard input":   {Options{Context: "tar://stdin", Stdin: bytes.NewReader(data)}, map[string]string{"f": "tar"}, "", false},
		"no tar there":            {Options{Context: "tar://stdin", Stdin: stdin("FROM scratch")}, nil, "standard input: it is no tar archive", false},
		"dir":                     {Options{Context: "dir://" + dir, Dockerfile: mine, ContextSubPath: "d"}, map[string]string{"mine": "in a directory"}, "", false},
		"unknown kind":            {Options{Context: "ftp://x/y"}, nil, "contexts of kind ftp:// are not supported: there are dir, tar, git, ssh, http, https and azblob, gs, s3", false},
		"kind of others":          {Options{Context: "file:///x"}, nil, "contexts of kind file:// are not supported: a directory is dir://PATH", false},
		"standard input with tar": {Options{Context: "-", Stdin: bytes.NewReader(plain)}, map[string]string{"f": "tar"}, "", false},
		"standard input with gzip with other Dockerfile": {
			Options{Context: "-", Stdin: bytes.NewReader(data), Dockerfile: "other.Dockerfile"}, map[string]string{"other": "tar"}, "", false,
		},
		"standard input with Dockerfile":            {Options{Context: "-", Stdin: stdin("FROM scratch\nCOPY <<x /h\ny\nx\n")}, map[string]string{"h": "y\n"}, "", false},
		"standard input with Dockerfile and --file": {Options{Context: "-", Stdin: stdin("FROM scratch"), Dockerfile: "x"}, nil, "--file names another one", false},
		"standard input twice":                      {Options{Context: "-", Stdin: stdin("FROM scratch"), Dockerfile: "-"}, nil, "can't both", false},
		"no standard input":                         {Options{Context: "-"}, nil, "there is none", false},
		"cut off":                                   {Options{Context: "-", Stdin: bytes.NewReader(data[:len(data)-20])}, nil, "decompressing gzip: unexpected EOF", false},
		"cut off in its checksum":                   {Options{Context: "-", Stdin: bytes.NewReader(data[:len(data)-2])}, nil, "decompressing gzip: unexpected EOF", false},
		"cut off between files":                     {Options{Context: "-", Stdin: bytes.NewReader(plain[:len(plain)-1024])}, nil, "the archive is cut off", false},
		"Dockerfile on standard input": {
			Options{Context: filepath.Join(dir), Dockerfile: "-", Stdin: stdin("FROM scratch\nCOPY mine /m\n")}, map[string]string{"m": "FROM scratch\nCOPY f /mine\n"}, "", false,
		},
		"sub path out of the context": {Options{Context: url + "/r.git", ContextSubPath: "../x"}, nil, "not below the context", false},
		"named contexts": {
			Options{
				Context: empty, Dockerfile: "-", Stdin: stdin("FROM scratch\nCOPY --from=g sub/f /g\nCOPY --from=w context /w\n"),
				BuildContexts: map[string]string{"g": url + "/r.git#v1", "w": url + "/f"},
			}, map[string]string{"g": "sub", "w": "from the web"}, "", false,
		},
		"ADD": {
			Options{Context: empty, Dockerfile: "-", Stdin: stdin(fmt.Sprintf(
				"FROM scratch\nADD --unpack=true %[1]s/c.tar.gz /unpacked/\nADD %[1]s/c.tar.gz /kept/\nADD %[1]s/r.git#v1:sub /git/\n", url))},
			map[string]string{
				"unpacked/f": "tar", "unpacked/sub/f": "tar sub", "unpacked/Dockerfile": "FROM scratch\nCOPY f /\n",
				"unpacked/other.Dockerfile": "FROM scratch\nCOPY f /other\n", "kept/c.tar.gz": string(data),
				"git/f": "sub", "git/Dockerfile": "FROM scratch\nCOPY f /\n",
			}, "", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.o.Registry.Retry.Base, tt.o.Registry.Retry.Attempts = time.Millisecond, 2
			got, err := built(t, tt.o)
			if tt.want == nil {
				var source *op.SourceError
				if err == nil || !strings.Contains(err.Error(), tt.message) || (errors.As(err, &source) && source.Temporary()) != tt.transient {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %q\nwant %q", got, tt.want)
			}
		})
	}
}

// The certificate of a web server that is not one of the system's.
func TestWebContextCertificate(t *testing.T) {
	data := archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": "over TLS"})
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }))
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o644); err != nil {
		t.Fatal(err)
	}
	o := Options{Context: s.URL + "/c.tar"}
	if _, err := built(t, o); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("unknown: error %v", err)
	}
	o.Registry.Hosts = map[string]registry.Host{strings.TrimPrefix(s.URL, "https://"): {CAFile: ca}}
	if got, err := built(t, o); err != nil || got["f"] != "over TLS" {
		t.Errorf("given: %v, %v", got, err)
	}
}

// Build arguments that are about git.
func TestGitArguments(t *testing.T) {
	dir := t.TempDir()
	gitRepository(t, filepath.Join(dir, "r.git"), map[string]string{
		"Dockerfile": "FROM scratch\nCOPY --from=named . /named/\nCOPY . /\n", "sub/f": "named",
	})
	url := web(t, nil, dir)
	for name, c := range map[string]struct {
		args    map[string]string
		git     bool   // .git is in the context
		message string // of the error
	}{
		"none":              {nil, false, ""},
		"keep":              {map[string]string{"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}, true, ""},
		"do not keep":       {map[string]string{"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "false"}, false, ""},
		"nonsense means no": {map[string]string{"BUILDKIT_CONTEXT_KEEP_GIT_DIR": "x"}, false, ""},
		"advice":            {map[string]string{"BUILDKIT_GIT_ADVICE": "1"}, false, ""},
		"no advice":         {map[string]string{"BUILDKIT_GIT_ADVICE": "0"}, false, ""},
		"neither":           {map[string]string{"BUILDKIT_GIT_ADVICE": "x"}, false, "BUILDKIT_GIT_ADVICE"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := built(t, Options{Context: url + "/r.git#v1", BuildArgs: c.args, BuildContexts: map[string]string{"named": url + "/r.git#v1:sub"}})
			if c.message != "" {
				if err == nil || !strings.Contains(err.Error(), c.message) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if head := got[".git/HEAD"]; (head != "") != c.git || got["sub/f"] != "named" {
				t.Errorf("got %q", slices.Sorted(maps.Keys(got)))
			}
			for name := range got {
				if strings.HasPrefix(name, "named/.git") {
					t.Errorf("a named context has %s", name)
				}
			}
		})
	}
}

// SOURCE_DATE_EPOCH can be the age of the context.
func TestEpochOfContext(t *testing.T) {
	dir := t.TempDir()
	gitRepository(t, filepath.Join(dir, "r.git"), map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	url := web(t, map[string][]byte{"/c.tar": archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})}, dir)
	file := filepath.Join(dir, "c.tar")
	if err := os.WriteFile(file, archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"}), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, context := range []string{url + "/r.git", url + "/r.git#v1", url + "/c.tar", "tar://" + file} {
		dest := t.TempDir()
		_, err := Run(t.Context(), Options{
			Context: context, StateDir: t.TempDir(), Progress: "plain", ProgressTo: io.Discard,
			BuildArgs: map[string]string{"SOURCE_DATE_EPOCH": "context"}, Outputs: []string{"type=local,dest=" + dest},
		})
		if err != nil {
			t.Errorf("%s: %v", context, err)
			continue
		}
		info, err := os.Stat(filepath.Join(dest, "Dockerfile"))
		if err != nil {
			t.Fatal(err)
		}
		if info.ModTime().Unix() != 1746421505 {
			t.Errorf("%s: the file is of %s", context, info.ModTime())
		}
	}
}
