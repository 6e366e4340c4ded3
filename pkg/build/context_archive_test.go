package build

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
