package layer

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// gnuTar runs GNU tar over a directory that has everything the filesystem can.
func gnuTar(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("GNU tar is not installed")
	}
	if out, err := exec.CommandContext(t.Context(), path, "--version").Output(); err != nil || !bytes.Contains(out, []byte("GNU tar")) {
		t.Skip("tar is not GNU tar")
	}
	cmd := exec.CommandContext(t.Context(), path, append(args, "--sort=name", "--numeric-owner", "-C", dir, "-cf", "-", ".")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tar: %v\n%s", err, &stderr)
	}
	return out
}

func TestReadTarByGNU(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("directory/", 12) + strings.Repeat("n", 120)
	file := func(name, content string) error {
		p := filepath.Join(dir, name)
		return errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o644), os.Chmod(p, 0o644))
	}
	sparse := func(name string) error {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("middle"), 1<<20)
		return errors.Join(err, f.Truncate(3<<20), f.Chmod(0o644), f.Close())
	}
	if err := errors.Join(
		file("a", "content"),
		file(long, "long"),
		file("Überfluß\nzwei", "x"),
		sparse("sparse"),
		os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")),
		os.Symlink(strings.Repeat("t/", 60)+"x", filepath.Join(dir, "link")),
		unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644),
		os.Chtimes(filepath.Join(dir, "a"), time.Time{}, time.Unix(1700000000, 123456789)),
	); err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 3<<20)
	copy(want[1<<20:], "middle")
	formats := map[string][]string{
		"gnu":         {"--format=gnu"},
		"gnu sparse":  {"--format=gnu", "--sparse"},
		"pax":         {"--format=pax"},
		"pax 0.0":     {"--format=pax", "--sparse", "--sparse-version=0.0"},
		"pax 0.1":     {"--format=pax", "--sparse", "--sparse-version=0.1"},
		"pax 1.0":     {"--format=pax", "--sparse", "--sparse-version=1.0"},
		"pax acl etc": {"--format=pax", "--acls", "--xattrs", "--selinux"},
	}
	for name, args := range formats {
		t.Run(name, func(t *testing.T) {
			data := gnuTar(t, dir, args...)
			x, c, err := readTar(t.Context(), bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			tarFile := &Tar{index: x, extents: c, r: bytes.NewReader(data)}
			for path, want := range map[string]string{
				"a": "content", long: "long", "Überfluß\nzwei": "x", "sparse": string(want),
			} {
				i, ok := x.Find(path)
				if !ok {
					t.Errorf("%q is missing", path)
					continue
				}
				if got := contentOf(t, tarFile, i); got != want {
					t.Errorf("%q: content differs: %.60q", path, got)
				}
				if e := x.At(i); e.Sum != sha256.Sum256([]byte(want)) || e.Mode != 0o644 || e.Size != int64(len(want)) {
					t.Errorf("%q: %+v", path, e)
				}
			}
			i, _ := x.Find("sparse")
			if _, contiguous := tarFile.Extent(i); contiguous == strings.Contains(strings.Join(args, " "), "--sparse") {
				t.Errorf("sparse file: contiguous is %v", contiguous)
			}
			if e, err := x.Lookup("link"); err != nil || len(e.Link) != 121 {
				t.Errorf("link: %+v, %v", e, err)
			}
			if e, err := x.Lookup("b"); err != nil || e.Type != Hardlink || e.Link != "a" {
				t.Errorf("hard link: %+v, %v", e, err)
			}
			if e, err := x.Lookup("pipe"); err != nil || e.Type != Fifo {
				t.Errorf("fifo: %+v, %v", e, err)
			}
			if e, err := x.Lookup("a"); err != nil || e.ModTime.Unix() != 1700000000 {
				t.Errorf("time: %+v, %v", e, err)
			}
			if e, err := x.Lookup(""); err != nil || e.Type != Directory {
				t.Errorf("root: %+v, %v", e, err)
			}
		})
	}
}

// TestWriteTarForGNU has GNU tar unpack what we write.
func TestWriteTarForGNU(t *testing.T) {
	path, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("tar is not installed")
	}
	long := strings.Repeat("directory/", 12) + strings.Repeat("n", 120)
	var b bytes.Buffer
	_, err = WriteTar(t.Context(), &b, virtualLayer(t, `
		d a
		f a/b content
		h a/c => a/b
		l a/d -> b
		p a/e
		f `+long+` long
	`))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), path, "-xf", "-", "-C", dir)
	cmd.Stdin = &b
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	for name, want := range map[string]string{"a/b": "content", "a/c": "content", "a/d": "content", long: "long"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != want {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	fi, err := os.Stat(filepath.Join(dir, "a/b"))
	if err != nil || !fi.ModTime().Equal(testTime) || fi.Mode() != 0o644 {
		t.Errorf("a/b: %+v, %v", fi, err)
	}
}

// TestReadTarOddProducers is about headers that tools other than GNU tar and archive/tar write.
func TestReadTarOddProducers(t *testing.T) {
	write := func(headers ...*tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, h.Size)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	file := func(name string, edit func(h *tar.Header)) *tar.Header {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: testTime}
		edit(h)
		return h
	}
	v7 := specTar(t, "f a content")
	v7[156] = 0 // the type that tar had before there were types
	clear(v7[257:265])
	setChecksum(v7[:512])
	contiguous := specTar(t, "f a content")
	contiguous[156] = '7'
	setChecksum(contiguous[:512])
	v7dir := specTar(t, "f a")
	v7dir[1], v7dir[156] = '/', 0
	clear(v7dir[257:265])
	setChecksum(v7dir[:512])
	tests := []struct {
		name string
		tar  []byte
		want string
	}{
		{"version 7", v7, "f a content"},
		{"version 7 directory", v7dir, "d a mode=0644"},
		{"contiguous file", contiguous, "f a content"},
		{"libarchive: attributes twice, access and creation times", write(file("a", func(h *tar.Header) {
			h.PAXRecords = map[string]string{
				"SCHILY.xattr.user.k": "v", "LIBARCHIVE.xattr.user.k": "dg", "LIBARCHIVE.creationtime": "1700000000.5",
				"SCHILY.dev": "5", "SCHILY.ino": "6", "SCHILY.nlink": "1", "SCHILY.fflags": "nodump", "SCHILY.acl.access": "user::rw-",
			}
			h.AccessTime, h.ChangeTime, h.Format = testTime, testTime, tar.FormatPAX
		})), "f a xattr:user.k=v"},
		{"GNU tar: SELinux label and names of owners", write(file("a", func(h *tar.Header) {
			h.PAXRecords = map[string]string{"RHT.security.selinux": "x"}
			h.Uname, h.Gname, h.Uid = "nobody", "nogroup", 65534
		})), "f a uid=65534"},
		{"file type in the mode", write(file("a", func(h *tar.Header) { h.Mode = 0o100644 })), "f a"},
		{"GNU long names", write(file(strings.Repeat("n", 300), func(h *tar.Header) { h.Format = tar.FormatGNU })), "f " + strings.Repeat("n", 300)},
		{"device with no numbers", write(file("a", func(h *tar.Header) { h.Typeflag = tar.TypeChar })), "c a 0 0"},
		{"directory without a slash", write(file("a", func(h *tar.Header) { h.Typeflag, h.Mode = tar.TypeDir, 0o755 })), "d a"},
		{"two end markers and garbage", append(specTar(t, "f a content"), "garbage"...), "f a content"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readSpec(t, tt.tar)
			if err != nil {
				t.Fatal(err)
			}
			if want := normal(tt.want); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
