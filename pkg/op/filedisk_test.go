package op

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// The tests that compare with BuildKit's own libraries run those on real directories. What is
// here writes random trees to a disk and reads directories back.

// needRealRoot skips a test that makes files of other owners and device nodes.
func needRealRoot(tb testing.TB) {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("needs root: makes device nodes and files of other users")
	}
	old := syscall.Umask(0)
	tb.Cleanup(func() { syscall.Umask(old) })
}

// randomTree writes a few files into dir. Names come from a small alphabet, so that trees
// collide; times are whole seconds long ago.
func randomTree(tb testing.TB, r *rand.Rand, dir string, hardLinks bool) {
	tb.Helper()
	var files []string
	var fill func(dir string, depth int)
	fill = func(dir string, depth int) {
		for range r.IntN(5) {
			p := filepath.Join(dir, pickOne(r, "aa", "bb", "cc", "dd.txt", "ee.txt"))
			if _, err := os.Lstat(p); err == nil {
				continue
			}
			switch kind := r.IntN(12); {
			case kind < 4 && depth < 3:
				must(tb, os.Mkdir(p, 0o755))
				fill(p, depth+1)
			case kind < 8:
				must(tb, os.WriteFile(p, []byte(pickOne(r, "", "x", "y", "some text")), 0o644))
				files = append(files, p)
			case kind < 9:
				target := pickOne(r, "aa", "bb", "../bb", "/aa", "/", "..", "cc/../dd.txt", "/aa/bb", "../../../aa", "/nowhere/zz", "dd.txt")
				must(tb, os.Symlink(target, p))
			case kind < 10 && hardLinks && len(files) > 0:
				must(tb, os.Link(pickOne(r, files...), p))
			case kind < 11:
				must(tb, unix.Mkfifo(p, 0o600))
			default:
				must(tb, unix.Mknod(p, unix.S_IFCHR|0o600, int(unix.Mkdev(1, uint32(r.IntN(9)+1)))))
			}
			randomMetadata(tb, r, p)
		}
	}
	fill(dir, 0)
}

func randomMetadata(tb testing.TB, r *rand.Rand, p string) {
	tb.Helper()
	fi, err := os.Lstat(p)
	must(tb, err)
	must(tb, os.Lchown(p, r.IntN(3), r.IntN(3)))
	if fi.Mode()&fs.ModeSymlink == 0 {
		modes := []uint32{0o644, 0o600, 0o755, 0o4755, 0o2711}
		if fi.IsDir() {
			modes = []uint32{0o755, 0o700, 0o1777, 0o2775}
		}
		must(tb, syscall.Chmod(p, pickOne(r, modes...)))
	}
	if (fi.IsDir() || fi.Mode().IsRegular()) && r.IntN(4) == 0 {
		must(tb, unix.Lsetxattr(p, pickOne(r, "user.one", "user.two"), []byte(pickOne(r, "1", "2")), 0))
	}
	setOldTime(tb, p, 1000+r.Int64N(50))
}

func setOldTime(tb testing.TB, p string, sec int64) {
	tb.Helper()
	ts := unix.Timespec{Sec: sec}
	must(tb, unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

// settle gives all directories below dir an old time again, which filling them has changed.
func settle(tb testing.TB, r *rand.Rand, dir string) {
	tb.Helper()
	must(tb, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			setOldTime(tb, p, 1000+r.Int64N(50))
		}
		return err
	}))
}

// readDisk reads a directory into the files of a layer.
func readDisk(tb testing.TB, dir string) []layer.File {
	tb.Helper()
	var files []layer.File
	inodes := map[uint64]string{}
	must(tb, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(p, dir), "/")
		f := readFile(tb, p)
		f.Path = rel
		var st unix.Stat_t
		must(tb, unix.Lstat(p, &st))
		if first, ok := inodes[st.Ino]; ok && f.Type == layer.Regular {
			f = layer.File{Entry: hardlink(&f.Entry, first)}
			f.Path = rel
		}
		inodes[st.Ino] = rel
		files = append(files, f)
		return nil
	}))
	return files
}

func readFile(tb testing.TB, p string) layer.File {
	tb.Helper()
	var st unix.Stat_t
	must(tb, unix.Lstat(p, &st))
	var f layer.File
	f.Mode = uint16(st.Mode & 0o7777)
	f.UID, f.GID = st.Uid, st.Gid
	f.ModTime = time.Unix(st.Mtim.Unix()).UTC()
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		f.Type = layer.Directory
	case unix.S_IFREG:
		b, err := os.ReadFile(p)
		must(tb, err)
		f.Type, f.Size, f.Content = layer.Regular, st.Size, layer.Bytes(b)
	case unix.S_IFLNK:
		link, err := os.Readlink(p)
		must(tb, err)
		f.Type, f.Link = layer.Symlink, link
	case unix.S_IFIFO:
		f.Type = layer.Fifo
	case unix.S_IFCHR, unix.S_IFBLK:
		f.Type = layer.CharDevice
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			f.Type = layer.BlockDevice
		}
		f.Major, f.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	default:
		tb.Fatalf("%s: mode %o", p, st.Mode)
	}
	f.Xattrs = diskXattrs(tb, p)
	return f
}

func diskXattrs(tb testing.TB, p string) map[string]string {
	tb.Helper()
	var names, value [4096]byte
	n, err := unix.Llistxattr(p, names[:])
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil
	}
	must(tb, err)
	attrs := map[string]string{}
	for name := range bytes.SplitSeq(bytes.TrimSuffix(names[:n], []byte{0}), []byte{0}) {
		n, err := unix.Lgetxattr(p, string(name), value[:])
		must(tb, err)
		attrs[string(name)] = string(value[:n])
	}
	return attrs
}

// diskTree reads a directory as a tree of one layer.
func diskTree(tb testing.TB, dir string) *tree.Tree {
	tb.Helper()
	l, err := layer.New(readDisk(tb, dir))
	must(tb, err)
	return tree.New(l)
}

// listing is a whole filesystem as text, by path.
type listing map[string]string

// now stands for the modification times that a comparison does not look at.
const now = "now"

// listDisk lists a directory. Times since start are written as now.
func listDisk(tb testing.TB, dir string, start time.Time) listing {
	tb.Helper()
	files := readDisk(tb, dir)
	out := listing{}
	for _, f := range files[1:] { // not the root
		content := ""
		if f.Content != nil {
			r, err := f.Content.Open(tb.Context())
			must(tb, err)
			b, err := io.ReadAll(r)
			must(tb, err)
			content = string(b)
		}
		e := f.Entry
		fresh := !e.ModTime.Before(start)
		e.ModTime = e.ModTime.Truncate(time.Second)
		out[e.Path] = formatListed(&e, content, fresh)
	}
	return out
}

// listTree lists a tree. The time testNow is written as now.
func listTree(tb testing.TB, t *tree.Tree) listing {
	tb.Helper()
	v, err := t.View(tb.Context())
	must(tb, err)
	out := listing{}
	first := map[*layer.Entry]string{}
	for p, n := range v.Walk("/") {
		if p == "" {
			continue
		}
		e := *n.Entry()
		content := ""
		if n.IsRegular() {
			content = readLayer(tb, n.Layer(), e.Path)
		}
		if target, ok := first[n.Entry()]; ok && n.IsRegular() {
			e = hardlink(&e, target)
		}
		first[n.Entry()] = p
		e.Path, e.Opaque = p, false
		out[p] = formatListed(&e, content, e.ModTime.Equal(testNow))
	}
	return out
}

func formatListed(e *layer.Entry, content string, fresh bool) string {
	s := formatEntry(e, content)
	if !fresh {
		return s
	}
	fields := strings.SplitN(s, " ", 5)
	fields[3] = now
	return strings.Join(fields, " ")
}

// compareListings compares what a library did on a disk to base with what we did. The
// modification time of a directory may differ in the two ways that are documented: names coming and
// going leave it alone, and a directory is not listed for its time if nothing below changed.
func compareListings(base, disk, ours listing) string {
	paths := maps.Clone(disk)
	maps.Copy(paths, ours)
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		want, got := strings.SplitN(disk[p], " ", 5), strings.SplitN(ours[p], " ", 5)
		if want[0] == "d" && got[0] == "d" && (want[3] == now || base.sameBelow(p, ours)) {
			want[3], got[3] = now, now
		}
		if !slices.Equal(want, got) {
			fmt.Fprintf(&b, "- %s\n+ %s\n", disk[p], ours[p])
		}
	}
	return b.String()
}

// sameBelow reports whether p and everything below it is the same in both listings.
func (l listing) sameBelow(p string, m listing) bool {
	below := func(of listing) map[string]string {
		out := maps.Clone(of)
		maps.DeleteFunc(out, func(q, _ string) bool { return q != p && !strings.HasPrefix(q, p+"/") })
		return out
	}
	return maps.Equal(below(l), below(m))
}

func pickOne[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
