package pod_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/test/pod"
)

// Each kind of change to a file is seen.
func TestSnapshotDiff(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(dir string) error
		want   string // in the only difference that is not about a directory's time
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"content, at the same time", func(dir string) error { return keepTime(dir, "other text") }, "a/file: content was "},
		{"time", func(dir string) error {
			return os.Chtimes(filepath.Join(dir, "a/file"), time.Unix(1, 0), time.Unix(1, 1))
		}, "a/file: modification time was "},
		{"mode", func(dir string) error { return os.Chmod(filepath.Join(dir, "a/file"), 0o600) }, "a/file: mode was 0100644, is 0100600"},
		{"mode of a directory", func(dir string) error { return os.Chmod(filepath.Join(dir, "a"), 0o700) }, "a: mode was 040755, is 040700"},
		{"target of a link", func(dir string) error {
			link := filepath.Join(dir, "a/link")
			if err := os.Remove(link); err != nil {
				return err
			}
			return os.Symlink("elsewhere", link)
		}, `link target was "file", is "elsewhere"`},
		{"a link instead of a file", func(dir string) error {
			file := filepath.Join(dir, "a/file")
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.Symlink("link", file)
		}, "a/file: mode was 0100644, is 0120777"},
		{"a hard link", func(dir string) error {
			return os.Link(filepath.Join(dir, "a/file"), filepath.Join(t.TempDir(), "second"))
		}, "a/file: number of links was 1, is 2"},
		{"an attribute", func(dir string) error {
			return unix.Setxattr(filepath.Join(dir, "a/file"), "user.name", []byte("value"), 0)
		}, `a/file: extended attributes was "", is "user.name=\"value\""`},
		{"a removed file", func(dir string) error { return os.Remove(filepath.Join(dir, "a/file")) }, "a/file: removed"},
		{"a new file", func(dir string) error { return os.WriteFile(filepath.Join(dir, "a/new"), nil, 0o644) }, "a/new: added"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "a/file"), "the text!!")
			if err := os.Symlink("file", filepath.Join(dir, "a/link")); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, dir)
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range before.Diff(snapshot(t, dir)) {
				if !strings.HasPrefix(c.String(), "a: modification time was ") {
					got = append(got, c.String())
				}
			}
			if text := strings.Join(got, "\n"); !strings.Contains(text, test.want) || (text == "") != (test.want == "") || len(got) > 1 {
				t.Errorf("got %q, want %q", text, test.want)
			}
		})
	}
}

func snapshot(t *testing.T, dir string) pod.Snapshot {
	t.Helper()
	s, err := pod.TakeSnapshot(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keepTime changes the content of a/file, but not its size or its time.
func keepTime(dir, content string) error {
	path := filepath.Join(dir, "a/file")
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Chtimes(path, info.ModTime(), info.ModTime())
}
