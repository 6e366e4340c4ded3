package erofs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sample is a tree with all that an image can have.
type sample struct {
	nodes    []Node
	contents map[string][]byte // of regular files, by path
}

func (s *sample) add(n Node) { s.nodes = append(s.nodes, n) }

func (s *sample) file(n Node, content []byte) {
	n.Size = int64(len(content))
	s.add(n)
	s.contents[n.Path] = content
}

func (s *sample) open(_ context.Context, i int) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.contents[s.nodes[i].Path])), nil
}

// image writes s into a file.
func (s *sample) image(t testing.TB) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	size, err := Write(t.Context(), f, s.nodes, s.open)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(name); err != nil || fi.Size() != size {
		t.Fatalf("Write says %d bytes; the file: %v, %v", size, fi.Size(), err)
	}
	return name
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rnd := rand.New(rand.NewPCG(uint64(n), 1))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// everything has every type, and the sizes at which the place of data changes.
func everything() *sample {
	at := time.Unix(1_700_000_000, 123_456_789)
	s := &sample{contents: map[string][]byte{}}
	// Names and parents are not in order.
	s.add(Node{Path: "link-before", HardlinkTo: "files/4097"})
	for _, n := range []int{0, 1, 4095, 4096, 4097, 3 << 20, 3<<20 + 1} {
		s.file(Node{Path: fmt.Sprintf("files/%d", n), Mode: unix.S_IFREG | 0o644, ModTime: at}, randomBytes(n))
	}
	s.add(Node{Path: "files", Mode: unix.S_IFDIR | 0o755, ModTime: at})
	s.file(Node{Path: "suid", Mode: unix.S_IFREG | 0o6755, UID: 70_000, GID: 1<<32 - 2, ModTime: at}, []byte("s"))
	s.file(Node{Path: "old", Mode: unix.S_IFREG, ModTime: time.Unix(-1_000_000_000, 999_999_999)}, nil)
	s.file(Node{Path: "late", Mode: unix.S_IFREG | 0o777, ModTime: time.Unix(1<<33, 1)}, nil)
	s.file(Node{Path: "zero-time", Mode: unix.S_IFREG | 0o400}, []byte("0"))
	s.file(Node{Path: "!", Mode: unix.S_IFREG | 0o400}, []byte("before ."))
	s.file(Node{Path: ".!", Mode: unix.S_IFREG | 0o400}, []byte("between . and .."))
	s.file(Node{Path: "...", Mode: unix.S_IFREG | 0o400}, []byte("after .."))
	s.file(Node{Path: "\x01\n", Mode: unix.S_IFREG | 0o400}, nil)
	s.file(Node{Path: "grün", Mode: unix.S_IFREG | 0o400}, nil)
	s.file(Node{Path: "\xff\xfe", Mode: unix.S_IFREG | 0o400}, []byte("no UTF-8"))
	s.file(Node{Path: strings.Repeat("n", maxName), Mode: unix.S_IFREG | 0o400}, nil)
	for _, n := range []int{1, 59, 4000, 4095 - inodeSize, 4096 - inodeSize, 4097 - inodeSize, 4095} {
		s.add(Node{Path: fmt.Sprintf("symlink-%d", n), Mode: unix.S_IFLNK | 0o777, Link: strings.Repeat("x", n), UID: 5, ModTime: at})
	}
	// In the order of inodes: a full block, one that two share, and two that are a byte too long for that.
	for i, n := range []int{4096 - inodeSize, 2048 - inodeSize, 2048 - inodeSize, 2048 - inodeSize, 2049 - inodeSize, 2048} {
		s.add(Node{Path: fmt.Sprintf("share-%d", i), Mode: unix.S_IFLNK | 0o777, Link: strings.Repeat("x", n)})
	}
	s.add(Node{Path: "fifo", Mode: unix.S_IFIFO | 0o622, GID: 6, ModTime: at})
	s.add(Node{Path: "whiteout", Mode: unix.S_IFCHR})
	s.add(Node{Path: "null", Mode: unix.S_IFCHR | 0o666, Major: 1, Minor: 3, ModTime: at})
	s.add(Node{Path: "disk", Mode: unix.S_IFBLK | 0o660, Major: maxMajor, Minor: maxMinor, ModTime: at})
	s.add(Node{Path: "fifo-too", HardlinkTo: "fifo"})
	s.add(Node{Path: "symlink-too", HardlinkTo: "symlink-59"})
	s.add(Node{Path: "dirs", Mode: unix.S_IFDIR | 0o1777, UID: 1, GID: 2, ModTime: at.Add(1)})
	for _, n := range []int{0, 1, 300, 5000} {
		dir := fmt.Sprintf("dirs/%d", n)
		s.add(Node{Path: dir, Mode: unix.S_IFDIR | 0o2750, ModTime: at})
		for i := range n {
			name := fmt.Sprintf("%s/%d-%s", dir, i, strings.Repeat("é", i%100))
			if i%7 == 0 {
				s.add(Node{Path: name, Mode: unix.S_IFDIR | 0o700, ModTime: at})
			} else {
				s.file(Node{Path: name, Mode: unix.S_IFREG | 0o600, ModTime: at}, []byte(name[:i%5]))
			}
		}
	}
	for size := 4096 - inodeSize - 3; size <= 4096+3; size++ {
		s.directory(fmt.Sprintf("full-%d", size), size)
	}
	s.add(Node{Path: "", Mode: unix.S_IFDIR | 0o755, ModTime: at})
	s.add(Node{Path: "link-after", HardlinkTo: "files/4097"})
	return s
}

// directory adds a directory whose entries take size bytes, if they fit into one block: at such sizes, the
// end of one does or does not fit behind its inode.
func (s *sample) directory(dir string, size int) {
	s.add(Node{Path: dir, Mode: unix.S_IFDIR | 0o755})
	const step = 100
	rest := size - 2*direntSize - len("...")
	for i := 0; rest > 0; i++ {
		n := step
		if rest < 2*step {
			n = rest
		}
		s.file(Node{Path: fmt.Sprintf("%s/%02d%s", dir, i, strings.Repeat("f", n-direntSize-2)), Mode: unix.S_IFREG}, nil)
		rest -= n
	}
}

// file is what a reader sees of one path.
type file struct {
	mode     uint32
	uid, gid uint32
	time     time.Time // UTC
	links    uint32
	rdev     uint64
	link     string
	content  string
	first    string // of the names of the same inode
}

// files is what a reader should see.
func (s *sample) files() map[string]file {
	nodes := map[string]Node{}
	names := map[string]uint32{} // of inodes
	dirs := map[string]uint32{}  // in a directory
	first := map[string]string{}
	for _, n := range s.nodes {
		nodes[n.Path] = n
		inode := n.Path
		if n.HardlinkTo != "" {
			inode = n.HardlinkTo
		} else if n.Mode&unix.S_IFMT == unix.S_IFDIR && n.Path != "" {
			dirs[parent(n.Path)]++
		}
		names[inode]++
		if f, ok := first[inode]; !ok || n.Path < f {
			first[inode] = n.Path
		}
	}
	files := map[string]file{}
	for p, n := range nodes {
		if n.HardlinkTo != "" {
			n = nodes[n.HardlinkTo]
		}
		f := file{mode: n.Mode, uid: n.UID, gid: n.GID, time: n.ModTime.UTC(), links: names[n.Path], first: first[n.Path]}
		if n.ModTime.IsZero() {
			f.time = time.Unix(0, 0).UTC()
		}
		switch n.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			f.links = 2 + dirs[n.Path]
		case unix.S_IFREG:
			f.content = string(s.contents[n.Path])
		case unix.S_IFLNK:
			f.link = n.Link
		case unix.S_IFCHR, unix.S_IFBLK:
			f.rdev = unix.Mkdev(n.Major, n.Minor)
		}
		files[p] = f
	}
	return files
}

func parent(p string) string {
	dir, _ := path.Split(p)
	return strings.TrimSuffix(dir, "/")
}

// sameFiles compares what a reader sees with what it should see.
func sameFiles(t *testing.T, got, want map[string]file) {
	t.Helper()
	failed := 0
	for _, p := range slices.Sorted(maps.Keys(want)) {
		g, ok := got[p]
		if w := want[p]; !ok {
			t.Errorf("%q is missing", p)
		} else if g != w {
			t.Errorf("%q is %s\nwant %s", p, g, w)
		} else {
			continue
		}
		if failed++; failed == 10 {
			t.Fatal("and perhaps more")
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%q should not be there", p)
		}
	}
}

func (f file) String() string {
	return fmt.Sprintf("mode %o owner %d:%d time %v links %d rdev %#x link %.40q content %d bytes %.20q inode %q",
		f.mode, f.uid, f.gid, f.time, f.links, f.rdev, f.link, len(f.content), f.content, f.first)
}
