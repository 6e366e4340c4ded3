package bucket_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/bucket"
)

// secretDir is a directory as the kubelet mounts a Secret.
func secretDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	err := errors.Join(os.Mkdir(filepath.Join(dir, "..1"), 0o755), os.Symlink("..1", filepath.Join(dir, "..data")))
	for name, content := range files {
		err = errors.Join(err,
			os.WriteFile(filepath.Join(dir, "..1", name), []byte(content), 0o600), os.Symlink("..data/"+name, filepath.Join(dir, name)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestEnvironment(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string
		want  map[string]string // DIR stands for the directory
		err   string
	}{
		{"nothing", nil, map[string]string{}, ""},
		{
			"variables", map[string]string{
				"AWS_ACCESS_KEY_ID": "id\n", "AWS_SECRET_ACCESS_KEY": " key= ", "AZURE_STORAGE_ACCESS_KEY": "k",
				"GOOGLE_CLOUD_PROJECT": "p", "S3_ENDPOINT": "https://s3.example.com\r\n", "S3_FORCE_PATH_STYLE": "true",
			},
			map[string]string{
				"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": " key= ", "AZURE_STORAGE_ACCESS_KEY": "k",
				"GOOGLE_CLOUD_PROJECT": "p", "S3_ENDPOINT": "https://s3.example.com", "S3_FORCE_PATH_STYLE": "true",
			}, "",
		},
		{
			"files", map[string]string{"credentials": "[default]\n", "config": "[default]\n", "key.json": "{\n}\n"},
			map[string]string{
				"AWS_SHARED_CREDENTIALS_FILE": "DIR/credentials", "AWS_CONFIG_FILE": "DIR/config", "GOOGLE_APPLICATION_CREDENTIALS": "DIR/key.json",
			}, "",
		},
		{
			"a key under the name of its variable", map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": "{}"},
			map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": "DIR/GOOGLE_APPLICATION_CREDENTIALS"}, "",
		},
		{"two keys", map[string]string{"a.json": "{}", "b.json": "{}"}, nil, "b.json: another file there sets GOOGLE_APPLICATION_CREDENTIALS"},
		{"lines", map[string]string{"AWS_ACCESS_KEY_ID": "hidden\nhidden"}, nil, "more than one line"},
		{"the name of something else", map[string]string{"PATH": "/tmp"}, nil, "PATH: it is neither the name of a variable"},
		{"lower case", map[string]string{"aws_access_key_id": "hidden"}, nil, "aws_access_key_id: it is neither"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := secretDir(t, test.files)
			got, err := bucket.Environment(dir)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "hidden") {
					t.Errorf("the error is %v, want %q and no value in it", err, test.err)
				}
				return
			}
			for name, value := range got {
				got[name] = strings.Replace(value, dir, "DIR", 1)
			}
			if err != nil || !maps.Equal(got, test.want) {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
	if _, err := bucket.Environment(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a directory that is not there is passed over")
	}
}
