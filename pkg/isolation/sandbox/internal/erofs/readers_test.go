package erofs

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	goerofs "github.com/erofs/go-erofs"
	"golang.org/x/sys/unix"
	gvisor "gvisor.dev/gvisor/pkg/erofs"
)

// TestReaders has readers that are not ours read an image with everything.
func TestReaders(t *testing.T) {
	s := everything()
	image, want := s.image(t), s.files()
	t.Run("go-erofs", func(t *testing.T) { sameFiles(t, readWithGo(t, image), want) })
	t.Run("gVisor", func(t *testing.T) { sameFiles(t, readWithGVisor(t, image), want) })
	t.Run("Linux", func(t *testing.T) { sameFiles(t, readWithLinux(t, image), want) })
	t.Run("fsck", func(t *testing.T) { fsck(t, image) })
}

// setFirst completes what a reader sees: ino has the numbers of the inodes.
func setFirst(files map[string]file, ino map[string]uint64) {
	first := map[uint64]string{}
	for _, p := range slices.Sorted(maps.Keys(files)) {
		f, i := files[p], ino[p]
		if _, ok := first[i]; !ok {
			first[i] = p
		}
		f.first = first[i]
		files[p] = f
	}
}

// readWithGo reads an image with github.com/erofs/go-erofs.
func readWithGo(t *testing.T, image string) map[string]file {
	t.Helper()
	r, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fsys, err := goerofs.Open(r)
	if err != nil {
		t.Fatal(err)
	}
	files, ino := map[string]file{}, map[string]uint64{}
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.Type() != info.Mode().Type() {
			t.Errorf("%q has the type %v in its directory, but is %v", name, d.Type(), info.Mode())
		}
		st := info.Sys().(*goerofs.Stat)
		f := file{
			mode: unixMode(st.Mode), uid: st.UID, gid: st.GID, links: uint32(st.Nlink),
			time: info.ModTime().UTC(), rdev: uint64(st.Rdev),
		}
		switch info.Mode().Type() {
		case 0:
			b, err := fs.ReadFile(fsys, name)
			if err != nil {
				return err
			}
			f.content = string(b)
		case fs.ModeSymlink:
			if f.link, err = fs.ReadLink(fsys, name); err != nil {
				return err
			}
		}
		if name == "." {
			name = ""
		}
		files[name], ino[name] = f, uint64(st.Ino)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	setFirst(files, ino)
	return files
}

func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for bit, is := range map[fs.FileMode]uint32{fs.ModeSetuid: unix.S_ISUID, fs.ModeSetgid: unix.S_ISGID, fs.ModeSticky: unix.S_ISVTX} {
		if m&bit != 0 {
			mode |= is
		}
	}
	return mode | map[fs.FileMode]uint32{
		0: unix.S_IFREG, fs.ModeDir: unix.S_IFDIR, fs.ModeSymlink: unix.S_IFLNK, fs.ModeNamedPipe: unix.S_IFIFO,
		fs.ModeDevice: unix.S_IFBLK, fs.ModeDevice | fs.ModeCharDevice: unix.S_IFCHR,
	}[m.Type()]
}

// readWithGVisor reads an image with the package that gVisor's kernel reads it with. That does not
// know the numbers of devices.
func readWithGVisor(t *testing.T, image string) map[string]file {
	t.Helper()
	r, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := gvisor.OpenImage(r)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close() // and r
	if fi, err := r.Stat(); err != nil || fi.Size() != int64(img.Blocks())*int64(img.BlockSize()) {
		t.Errorf("%d blocks of %d bytes are %d bytes: %v", img.Blocks(), img.BlockSize(), fi.Size(), err)
	}
	g := gvisorReader{t: t, image: img, files: map[string]file{}, ino: map[string]uint64{}, short: map[string]uint64{}}
	g.read("", img.RootNid(), img.RootNid())
	if distinct(g.short) != distinct(g.ino) {
		t.Errorf("%d inodes have %d numbers of 32 bits", distinct(g.ino), distinct(g.short))
	}
	setFirst(g.files, g.ino)
	return g.files
}

type gvisorReader struct {
	t     *testing.T
	image *gvisor.Image
	files map[string]file
	ino   map[string]uint64
	short map[string]uint64 // what 32-bit programs get
}

func (g *gvisorReader) read(p string, nid, parent uint64) {
	i, err := g.image.Inode(nid)
	if err != nil {
		g.t.Fatalf("%q: %v", p, err)
	}
	f := file{
		mode: uint32(i.Mode()), uid: i.UID(), gid: i.GID(), links: i.Nlink(),
		time: time.Unix(int64(i.Mtime()), int64(i.MtimeNsec())).UTC(),
	}
	switch {
	case i.IsRegular():
		// As the kernel that gVisor is maps the file, DataOffset must work.
		off, err := i.DataOffset()
		if err != nil || off%uint64(g.image.BlockSize()) != 0 {
			g.t.Errorf("%q is at %d: %v", p, off, err)
		}
		ranges, err := i.DataRanges()
		if err != nil {
			g.t.Fatalf("%q: %v", p, err)
		}
		f.content = string(ranges[0].Bytes) + string(ranges[1].Bytes)
	case i.IsSymlink():
		if f.link, err = i.Readlink(); err != nil {
			g.t.Fatalf("%q: %v", p, err)
		}
	case i.IsCharDev(), i.IsBlockDev():
		f.rdev = g.word(nid, 16)
	case i.IsDir():
		g.readDir(p, i, parent)
	}
	g.files[p], g.ino[p], g.short[p] = f, nid, g.word(nid, 20)
}

// word reads from an inode what gVisor does not.
func (g *gvisorReader) word(nid, offset uint64) uint64 {
	sb := g.image.SuperBlock()
	b, err := g.image.BytesAt(sb.NidToOffset(nid)+offset, 4)
	if err != nil {
		g.t.Fatal(err)
	}
	return uint64(binary.LittleEndian.Uint32(b))
}

func (g *gvisorReader) readDir(p string, i gvisor.Inode, parent uint64) {
	var last string
	err := i.IterDirents(func(name string, typ uint8, nid uint64) error {
		if name <= last {
			g.t.Errorf("in %q, %q is after %q", p, name, last)
		}
		last = name
		if found, err := i.Lookup(name); err != nil || found != nid {
			g.t.Errorf("looking up %q in %q: %d, %v; want %d", name, p, found, err, nid)
		}
		switch name {
		case ".":
			if nid != i.Nid() {
				g.t.Errorf("in %q, . is %d", p, nid)
			}
			return nil
		case "..":
			if nid != parent {
				g.t.Errorf("in %q, .. is %d, not %d", p, nid, parent)
			}
			return nil
		}
		child := path.Join(p, name)
		g.read(child, nid, i.Nid())
		if want := fileType(g.files[child].mode); typ != want {
			g.t.Errorf("%q has the type %d in its directory, not %d", child, typ, want)
		}
		return nil
	})
	if err != nil {
		g.t.Fatalf("%q: %v", p, err)
	}
	for _, absent := range []string{"\x00", "-", "/", "m", "\xff\xff\xff", last + "0"} {
		if _, err := i.Lookup(absent); err == nil {
			g.t.Errorf("in %q there is %q", p, absent)
		}
	}
}

// readWithLinux mounts an image.
func readWithLinux(t *testing.T, image string) map[string]file {
	t.Helper()
	dir := mount(t, image)
	files, ino := map[string]file{}, map[string]uint64{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		p, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if p == "." {
			p = ""
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		f := file{
			mode: st.Mode, uid: st.Uid, gid: st.Gid, time: time.Unix(st.Mtim.Unix()).UTC(), rdev: st.Rdev,
			links: uint32(st.Nlink),
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			f.content = string(b)
		case unix.S_IFLNK:
			if f.link, err = os.Readlink(name); err != nil {
				return err
			}
		}
		files[p], ino[p] = f, st.Ino
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	setFirst(files, ino)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if n := st.Files - st.Ffree; n != distinct(ino) {
		t.Errorf("the filesystem says that it has %d inodes, not %d", n, distinct(ino))
	}
	return files
}

func distinct(ino map[string]uint64) uint64 {
	return uint64(len(slices.Compact(slices.Sorted(maps.Values(ino)))))
}

// mount mounts an image, or skips the test where that is not possible with any image.
func mount(t *testing.T, image string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting an image needs root")
	}
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", "--read-only", image).CombinedOutput()
	if err != nil {
		t.Skipf("there are no loop devices: %v: %s", err, out)
	}
	device := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	dir := t.TempDir()
	err = unix.Mount(device, dir, "erofs", unix.MS_RDONLY, "")
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EPERM) {
		t.Skipf("the kernel has no erofs, or it is not for this process: %v", err)
	}
	if err != nil {
		t.Fatalf("the kernel refuses the image: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// fsck checks an image with erofs-utils.
func fsck(t *testing.T, image string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "fsck.erofs", "--extract", image).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("fsck.erofs, of erofs-utils, is not installed")
	}
	if err != nil || strings.Contains(string(out), "<E>") {
		t.Errorf("%v:\n%s", err, out)
	}
}
