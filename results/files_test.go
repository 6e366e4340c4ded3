package results

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

var pushed = Image{Destinations: []string{app + ":v1", "team/app:v1"}, Digest: digest, Pushed: true}

// unpushed is the same image, built without a push.
var unpushed = Image{Destinations: pushed.Destinations, Digest: digest}

// contents reads all files below dir, by their path relative to it; directories end in "/".
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			found[rel+"/"] = ""
			return nil
		}
		data, err := os.ReadFile(path)
		found[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestWrite(t *testing.T) {
	lines := "registry.example:5000/team/app@" + digest + "\nindex.docker.io/team/app@" + digest + "\n"
	tagLines := "registry.example:5000/team/app:v1@" + digest + "\nindex.docker.io/team/app:v1@" + digest + "\n"
	both := app + ":v1@" + digest + ",team/app:v1@" + digest
	tests := []struct {
		name  string
		files func(dir string) Files
		image Image
		extra []Result
		want  map[string]string
		warns []string
	}{
		{
			name:  "nothing asked for",
			files: func(string) Files { return Files{} },
			image: pushed,
			want:  map[string]string{},
		},
		{
			name:  "a results directory, made if it is missing",
			files: func(dir string) Files { return Files{Dir: dir + "/a/b"} },
			image: pushed,
			want: map[string]string{
				"a/": "", "a/b/": "",
				"a/b/IMAGE_URL":    app + ":v1",
				"a/b/IMAGE_DIGEST": digest,
				"a/b/IMAGE_REF":    app + ":v1@" + digest,
				"a/b/IMAGES":       both,

				"a/b/IMAGE_ARTIFACT_OUTPUTS": output(app),
			},
		},
		{
			name: "single results",
			files: func(dir string) Files {
				return Files{Named: []Named{{ImageDigest, dir + "/APP_IMAGE_DIGEST"}, {ImageURL, dir + "/url"}, {ImageURL, dir + "/again"}}}
			},
			image: pushed,
			want:  map[string]string{"APP_IMAGE_DIGEST": digest, "url": app + ":v1", "again": app + ":v1"},
		},
		{
			name:  "results of other parts of a build",
			files: func(dir string) Files { return Files{Dir: dir} },
			image: unpushed,
			extra: []Result{{"SBOM_BLOB_URL", "https://example.com/sbom"}},
			want:  map[string]string{"IMAGE_URL": "", "IMAGE_REF": "", "IMAGES": "", "SBOM_BLOB_URL": "https://example.com/sbom"},
		},
		{
			name: "Kaniko's files",
			files: func(dir string) Files {
				return Files{DigestFile: dir + "/digest", NameDigestFile: dir + "/names", NameTagDigestFile: dir + "/tags"}
			},
			image: pushed,
			want:  map[string]string{"digest": digest, "names": lines, "tags": tagLines},
		},
		{
			name: "Kaniko's files exist without a push too",
			files: func(dir string) Files {
				return Files{DigestFile: dir + "/digest", NameDigestFile: dir + "/names", NameTagDigestFile: dir + "/tags"}
			},
			image: unpushed,
			want:  map[string]string{"digest": digest, "names": lines, "tags": tagLines},
		},
		{
			name:  "Kaniko's files of an image without a name",
			files: func(dir string) Files { return Files{DigestFile: dir + "/digest", NameDigestFile: dir + "/names"} },
			image: Image{Digest: digest},
			want:  map[string]string{"digest": digest, "names": ""},
		},
		{
			name: "no push, no digest under a name that Tekton Chains acts on",
			files: func(dir string) Files {
				return Files{
					Dir:               dir,
					Named:             []Named{{ImageDigest, dir + "/digest"}},
					DigestFile:        dir + "/APP_IMAGE_DIGEST",
					NameTagDigestFile: dir + "/sub/IMAGES",
				}
			},
			image: unpushed,
			extra: []Result{{"BASE_IMAGE_DIGEST", digest}},
			want:  map[string]string{"IMAGE_URL": "", "IMAGE_REF": "", "IMAGES": ""},
			warns: []string{"/BASE_IMAGE_DIGEST is not written", "/APP_IMAGE_DIGEST is not written", "/sub/IMAGES is not written", "/digest is not written"},
		},
		{
			name: "files of other formats",
			files: func(dir string) Files {
				return Files{Other: []File{{dir + "/meta/data.json", "{}\n"}, {"", "not asked for"}}}
			},
			image: unpushed,
			want:  map[string]string{"meta/": "", "meta/data.json": "{}\n"},
		},
		{
			name: "one file asked for twice with one content",
			files: func(dir string) Files {
				return Files{Dir: dir, Named: []Named{{ImageRef, dir + "/./IMAGE_REF"}}, DigestFile: dir + "/IMAGE_DIGEST"}
			},
			image: pushed,
			want:  map[string]string{"IMAGE_URL": app + ":v1", "IMAGE_DIGEST": digest, "IMAGE_REF": app + ":v1@" + digest, "IMAGES": both, "IMAGE_ARTIFACT_OUTPUTS": output(app)},
		},
		{
			name:  "too long for Tekton",
			files: func(dir string) Files { return Files{Dir: dir} },
			image: unpushed,
			extra: []Result{{"LONG", strings.Repeat("x", 4096)}},
			want:  map[string]string{"IMAGE_URL": "", "IMAGE_REF": "", "IMAGES": "", "LONG": strings.Repeat("x", 4096)},
			warns: []string{"result LONG (4096 bytes)"},
		},
		{
			name:  "what is good to know is left out where it does not fit",
			files: func(dir string) Files { return Files{Dir: dir} },
			image: unpushed,
			extra: []Result{{"BASE_IMAGES", strings.Repeat("x", 3900)}, {"BASE_IMAGE_ARTIFACT_INPUTS", "{}"}},
			want:  map[string]string{"IMAGE_URL": "", "IMAGE_REF": "", "IMAGES": "", "BASE_IMAGE_ARTIFACT_INPUTS": "{}"},
			warns: []string{"result BASE_IMAGES (3900 bytes) is left out"},
		},
		{
			name:  "too long for the kubelet",
			files: func(dir string) Files { return Files{Dir: dir, Containers: 12} },
			image: unpushed,
			extra: []Result{{"LONG", strings.Repeat("x", 1000)}},
			want:  map[string]string{"IMAGE_URL": "", "IMAGE_REF": "", "IMAGES": "", "LONG": strings.Repeat("x", 1000)},
			warns: []string{"above the limit of 1024"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			files := tt.files(dir)
			if err := files.Check(); err != nil {
				t.Fatalf("Check: %v", err)
			}
			if found := contents(t, dir); len(found) != 0 {
				t.Fatalf("Check made %q", found)
			}
			warnings, err := files.Write(t.Context(), tt.image, tt.extra...)
			if err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(tt.want)
			if files.Dir != "" { // what there is no value for is there, and empty
				rel, err := filepath.Rel(dir, files.Dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range []string{"BASE_IMAGES", "SBOM_BLOB_URL", "ERROR_REASON", "ERROR_MESSAGE"} {
					want[filepath.Join(rel, name)] += ""
				}
			}
			if got := contents(t, dir); !maps.Equal(got, want) {
				t.Errorf("files %q\nwant  %q", got, want)
			}
			if len(warnings) != len(tt.warns) {
				t.Fatalf("warnings %q, want %q", warnings, tt.warns)
			}
			for n, w := range tt.warns {
				if !strings.Contains(warnings[n], w) {
					t.Errorf("warning %q, want %q in it", warnings[n], w)
				}
			}
		})
	}
}

func TestWriteFailure(t *testing.T) {
	dir := t.TempDir()
	files := Files{Dir: dir, Named: []Named{{ImageDigest, dir + "/digest"}, {ErrorReason, dir + "/reason"}}, DigestFile: dir + "/kaniko"}
	if err := files.WriteFailure("RunFailed", "exit code 3"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"ERROR_REASON": "RunFailed", "ERROR_MESSAGE": "exit code 3", "reason": "RunFailed"}
	if got := contents(t, dir); !maps.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
	if err := files.WriteFailure("RunFailed", strings.Repeat("ä", 1023)+"x"); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, dir)["ERROR_MESSAGE"]; got != strings.Repeat("ä", 512) {
		t.Errorf("a long message becomes %d bytes: %q", len(got), got)
	}
}

func TestCheckRefuses(t *testing.T) {
	tests := []struct {
		name  string
		files Files
		want  string
	}{
		{"an unknown result", Files{Named: []Named{{"IMAGE", "/x"}}}, "there is no result IMAGE"},
		{"a result without a path", Files{Named: []Named{{ImageURL, ""}}}, "NAME=PATH"},
		{"two results in one file", Files{Named: []Named{{ImageURL, "/r/x"}, {ImageDigest, "/r//x"}}}, "/r/x is the file of two"},
		{"a result in another's file", Files{Dir: "/r", Named: []Named{{ImageURL, "/r/IMAGES"}}}, "/r/IMAGES is the file of two"},
		{"an error in a result's file", Files{Dir: "/r", Named: []Named{{ErrorReason, "/r/IMAGES"}}}, "/r/IMAGES is the file of two"},
		{"two of Kaniko's files in one", Files{NameDigestFile: "/r/x", NameTagDigestFile: "/r/x"}, "/r/x is the file of two"},
		{"another format's file", Files{DigestFile: "/r/x", Other: []File{{"/r/x", "{}"}}}, "/r/x is the file of two"},
		{"a URL without TLS", Files{DigestFile: "http://example.com/x?sig=s3cret"}, "https://"},
		{"a URL without a host", Files{DigestFile: "https:///x?sig=s3cret"}, "https://"},
		{"a broken URL", Files{DigestFile: "https://example.com/%zz?sig=s3cret"}, "digest file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.files.Check()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q in it", err, tt.want)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the URL's signature: %v", err)
			}
		})
	}
}

func TestParseNamed(t *testing.T) {
	good := map[string]Named{
		"IMAGE_URL=/tekton/results/IMAGE_URL": {ImageURL, "/tekton/results/IMAGE_URL"},
		"IMAGES=a=b":                          {Images, "a=b"},
	}
	for s, want := range good {
		if got, err := ParseNamed(s); err != nil || got != want {
			t.Errorf("ParseNamed(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "IMAGE_URL", "IMAGE_URL=", "=/x", "image_url=/x", "DIGEST=/x"} {
		if got, err := ParseNamed(s); err == nil {
			t.Errorf("ParseNamed(%q) = %v, want an error", s, got)
		}
	}
}

func TestWriteToStandardOutput(t *testing.T) {
	var out, errs bytes.Buffer
	files := Files{
		DigestFile: "/dev/stdout", NameDigestFile: "/proc/self/fd/1", NameTagDigestFile: "/dev/stderr",
		Named:  []Named{{ImageURL, "/dev/stdout"}},
		Stdout: &out, Stderr: &errs,
	}
	if err := files.Check(); err != nil {
		t.Fatal(err)
	}
	image := Image{Destinations: []string{app}, Digest: digest, Pushed: true}
	if _, err := files.Write(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	if want := app + ":latest" + digest + app + "@" + digest + "\n"; out.String() != want {
		t.Errorf("standard output %q, want %q", out.String(), want)
	}
	if want := app + ":latest@" + digest + "\n"; errs.String() != want {
		t.Errorf("standard error %q, want %q", errs.String(), want)
	}
}

func TestWriteToDevices(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Opened for reading and writing, so that neither side waits for the other.
	r, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := Files{DigestFile: fifo, NameDigestFile: "/dev/null"}
	if _, err := files.Write(t.Context(), pushed); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(digest))
	if _, err := r.Read(got); err != nil || string(got) != digest {
		t.Errorf("the pipe has %q, error %v", got, err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		t.Errorf("/dev/null became %v, error %v", info, err)
	}
}

func TestWriteFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	if err := os.WriteFile(target, []byte("much longer than the digest that comes: "+digest), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("target", link); err != nil {
		t.Fatal(err)
	}
	files := Files{DigestFile: link}
	if _, err := files.Write(t.Context(), pushed); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link became %v, error %v", info, err)
	}
	if got := contents(t, dir)["target"]; got != digest {
		t.Errorf("the target has %q", got)
	}
}

func TestFilesAreReadableByOthers(t *testing.T) {
	dir := t.TempDir()
	files := Files{Dir: dir}
	if _, err := files.Write(t.Context(), pushed); err != nil {
		t.Fatal(err)
	}
	old := syscall.Umask(0)
	syscall.Umask(old)
	info, err := os.Stat(filepath.Join(dir, ImageDigest))
	if err != nil {
		t.Fatal(err)
	}
	if want := fs.FileMode(0o644 &^ old); info.Mode() != want {
		t.Errorf("mode %v, want %v", info.Mode(), want)
	}
}

// unprivileged runs f as a user without rights of its own, to whom permissions apply.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is never unlocked, so it ends with this goroutine.
		runtime.LockOSThread()
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0); errno != 0 {
			t.Errorf("setfsuid: %v", errno)
			return
		}
		f()
	}()
	<-done
}

// publicDir is an empty directory that every user can reach.
func publicDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFailureLeavesNothing(t *testing.T) {
	tests := []struct {
		name    string
		arrange func(t *testing.T, dir string)
		files   func(dir string) Files
		want    map[string]string
		err     string
		late    bool // Probe cannot know
	}{
		{
			name:    "a directory that cannot be written",
			arrange: func(t *testing.T, dir string) { mkdir(t, dir+"/ro", 0o555) },
			files:   func(dir string) Files { return Files{Dir: dir + "/new/results", DigestFile: dir + "/ro/digest"} },
			want:    map[string]string{"ro/": ""},
			err:     "/ro/digest",
		},
		{
			name:    "a directory that cannot be made",
			arrange: func(t *testing.T, dir string) { mkdir(t, dir+"/ro", 0o555) },
			files:   func(dir string) Files { return Files{Dir: dir, DigestFile: dir + "/ro/sub/digest"} },
			want:    map[string]string{"ro/": ""},
			err:     "/ro/sub",
		},
		{
			name:    "a directory in the file's place",
			arrange: func(t *testing.T, dir string) { mkdir(t, dir+"/IMAGES", 0o755) },
			files:   func(dir string) Files { return Files{Dir: dir} },
			want:    map[string]string{"IMAGES/": ""},
			err:     "is a directory",
		},
		{
			name:    "a file in the directory's place",
			arrange: func(t *testing.T, dir string) { writeFile(t, dir+"/results", "x") },
			files:   func(dir string) Files { return Files{DigestFile: dir + "/digest", Dir: dir + "/results"} },
			want:    map[string]string{"results": "x"},
			err:     "not a directory",
		},
		{
			// In a directory with the sticky bit nobody can replace root's file,
			// so it is the renaming that fails, after the others have succeeded.
			name: "the last renaming fails",
			arrange: func(t *testing.T, dir string) {
				mkdir(t, dir+"/sticky", 0o777|fs.ModeSticky)
				writeFile(t, dir+"/sticky/IMAGES", "root's")
			},
			files: func(dir string) Files { return Files{DigestFile: dir + "/new/digest", Dir: dir + "/sticky"} },
			want:  map[string]string{"sticky/": "", "sticky/IMAGES": "root's"},
			err:   "/sticky/IMAGES",
			late:  true,
		},
		{
			name:    "standard output is closed",
			arrange: func(*testing.T, string) {},
			files: func(dir string) Files {
				return Files{DigestFile: "/dev/stdout", Dir: dir + "/results", Stdout: closedWriter{}}
			},
			want: map[string]string{},
			err:  "/dev/stdout",
			late: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if os.Geteuid() != 0 && strings.Contains(tt.name, "renaming") {
				t.Skip("needs root, to own a file that another user shall not be able to replace")
			}
			dir := publicDir(t)
			tt.arrange(t, dir)
			files := tt.files(dir)
			unprivileged(t, func() {
				if err := files.Probe(true); (err == nil) != tt.late || err != nil && !strings.Contains(err.Error(), tt.err) {
					t.Errorf("probing gives %v", err)
				}
				if got := contents(t, dir); !maps.Equal(got, tt.want) {
					t.Errorf("probing left behind %q, want %q", got, tt.want)
				}
				_, err := files.Write(t.Context(), pushed)
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q in it", err, tt.err)
				}
			})
			if got := contents(t, dir); !maps.Equal(got, tt.want) {
				t.Errorf("left behind %q, want %q", got, tt.want)
			}
		})
	}
}

// closedWriter is a pipe that nobody reads.
type closedWriter struct{}

func (closedWriter) Write([]byte) (int, error) { return 0, syscall.EPIPE }

func TestWritableFileInReadOnlyDirectory(t *testing.T) {
	dir := publicDir(t)
	mkdir(t, dir+"/ro", 0o755)
	writeFile(t, dir+"/ro/digest", "old and longer than a digest: "+digest)
	if err := os.Chmod(dir+"/ro/digest", 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir+"/ro", 0o555); err != nil {
		t.Fatal(err)
	}
	files := Files{DigestFile: dir + "/ro/digest"}
	unprivileged(t, func() {
		if _, err := files.Write(t.Context(), pushed); err != nil {
			t.Error(err)
		}
	})
	if got, want := contents(t, dir), map[string]string{"ro/": "", "ro/digest": digest}; !maps.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestURLComesBeforeAnyFile(t *testing.T) {
	t.Run("taken", func(t *testing.T) {
		b, dir := newBucket(t, 200), t.TempDir()
		files := Files{DigestFile: b.URL + "/IMAGE_DIGEST?sig=1", Named: []Named{{ImageURL, dir + "/url"}}, Client: b.Client()}
		if err := files.Check(); err != nil {
			t.Fatal(err)
		}
		if _, err := files.Write(t.Context(), pushed); err != nil {
			t.Fatal(err)
		}
		if got := contents(t, dir); b.body != digest || got["url"] != app+":v1" {
			t.Errorf("the server got %q, the files are %q", b.body, got)
		}
	})
	t.Run("refused", func(t *testing.T) {
		b, dir := newBucket(t, 403), t.TempDir()
		files := Files{DigestFile: b.URL + "/digest", Dir: dir + "/results", Client: b.Client()}
		if _, err := files.Write(t.Context(), pushed); err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("error %v, want one with the status", err)
		}
		if got := contents(t, dir); len(got) != 0 {
			t.Errorf("left behind %q", got)
		}
	})
}

func mkdir(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
