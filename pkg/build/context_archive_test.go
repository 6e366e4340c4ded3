package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-build/slipway/pkg/policy"
)

// In an archive .dockerignore counts as in a directory, and owners are those of the archive.
func TestArchiveContext(t *testing.T) {
	files := map[string]string{
		"Dockerfile": "FROM scratch\nCOPY . /\n", ".dockerignore": "**/*.log\nDockerfile\n", "f": "content", "d/x.log": "", "d/y": "",
		"sub/Dockerfile": "FROM scratch\nCOPY . /below/\n", "sub/.dockerignore": "secret", "sub/secret": "", "sub/s": "",
	}
	file := filepath.Join(t.TempDir(), "c.tar")
	if err := os.WriteFile(file, archive(t, files), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sub, dockerfile, want string
	}{
		"whole":                      {"", "", ".dockerignore d/y f sub/.dockerignore sub/Dockerfile sub/s sub/secret"},
		"below":                      {"sub", "", "below/.dockerignore below/Dockerfile below/s"},
		"below and named":            {"sub", "Dockerfile", ".dockerignore Dockerfile s"},
		"below and named from there": {"d", "sub/Dockerfile", "below/x.log below/y"},
	} {
		t.Run(name, func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "out.tar")
			_, err := Run(t.Context(), Options{
				Context: "tar://" + file, ContextSubPath: c.sub, Dockerfile: c.dockerfile,
				StateDir: t.TempDir(), Progress: "plain", ProgressTo: io.Discard, Outputs: []string{"type=tar,dest=" + dest},
			})
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(dest)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for r := tar.NewReader(bytes.NewReader(data)); ; {
				h, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if h.Typeflag != tar.TypeReg {
					continue
				}
				got = append(got, h.Name)
				if h.Uid != 7 || h.ModTime.Unix() != 1746421505 {
					t.Errorf("%s has the owner %d, and is of %s", h.Name, h.Uid, h.ModTime)
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %q, want %s", got, c.want)
			}
		})
	}
}

// A source policy is asked about a bucket before anybody else is.
func TestArchiveContextPolicy(t *testing.T) {
	objects := map[string][]byte{}
	for _, name := range []string{"a", "b"} {
		objects["/bucket/"+name] = archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY f /\n", "f": name})
	}
	var mu sync.Mutex
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		_, _ = w.Write(objects[r.URL.Path])
	}))
	t.Cleanup(s.Close)
	for name, value := range map[string]string{
		"S3_ENDPOINT": s.URL, "S3_FORCE_PATH_STYLE": "true", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "",
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": filepath.Join(t.TempDir(), "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(t.TempDir(), "none"),
	} {
		t.Setenv(name, value)
	}
	rule := func(action, identifier, updates string) string {
		return fmt.Sprintf(`{"action": %q, "selector": {"identifier": %q}, "updates": {"identifier": %q}}`, action, identifier, updates)
	}
	for name, c := range map[string]struct {
		rules  string
		want   string
		asked  []string
		denied string // the source
		err    string
	}{
		"no rule about it": {rule("DENY", "https://*", ""), "a", []string{"/bucket/a"}, "", ""},
		"denied":           {rule("DENY", "s3://*", ""), "", nil, "s3://bucket/a", ""},
		"not as local":     {rule("DENY", "local://*", ""), "a", []string{"/bucket/a"}, "", ""},
		"replaced":         {rule("CONVERT", "s3://bucket/a", "s3://bucket/b"), "b", []string{"/bucket/b"}, "", ""},
		"of another kind":  {rule("CONVERT", "s3://bucket/a", "https://example.com/b"), "", nil, "", "which is not in a bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			asked = nil
			file := filepath.Join(t.TempDir(), "policy.json")
			if err := os.WriteFile(file, []byte(`{"rules": [`+c.rules+`]}`), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := built(t, Options{Context: "s3://bucket/a", SourcePolicyFile: file})
			if !slices.Equal(asked, c.asked) {
				t.Errorf("the server was asked for %q", asked)
			}
			var denied *policy.DeniedError
			switch {
			case c.denied != "":
				if !errors.As(err, &denied) || denied.Source != c.denied {
					t.Errorf("error %v", err)
				}
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v", err)
				}
			case err != nil || got["f"] != c.want:
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
