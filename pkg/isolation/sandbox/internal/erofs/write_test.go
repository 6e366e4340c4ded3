package erofs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"
)

const (
	aDir     = unix.S_IFDIR | 0o755
	aFile    = unix.S_IFREG | 0o644
	aSymlink = unix.S_IFLNK | 0o777
)

// TestRefuses has nodes that cannot be an image. Nothing is written for them, and no content is opened.
func TestRefuses(t *testing.T) {
	root := Node{Mode: aDir}
	long := strings.Repeat("n", maxName+1)
	tests := []struct {
		name  string
		nodes []Node
		want  string
	}{
		{"nothing", nil, "must have a root"},
		{"no root", []Node{{Path: "a", Mode: aFile}}, "must have a root"},
		{"root that is a file", []Node{{Mode: aFile}}, "must be a directory"},
		{"root that is a hard link", []Node{{HardlinkTo: "a"}, {Path: "a", Mode: aFile}}, "must be a directory"},
		{"no parent", []Node{root, {Path: "d/a", Mode: aFile}}, `"d/a" cannot be in an image: its parent`},
		{"parent that is a file", []Node{root, {Path: "d", Mode: aFile}, {Path: "d/a", Mode: aFile}}, "its parent"},
		{"parent that is a symbolic link", []Node{root, {Path: "d", Mode: aSymlink, Link: "."}, {Path: "d/a", Mode: aFile}}, "its parent"},
		{"parent that is a hard link", []Node{root, {Path: "f", Mode: aFile}, {Path: "d", Mode: aDir, HardlinkTo: "f"}, {Path: "d/a", Mode: aFile}}, "its parent"},
		{"twice", []Node{root, {Path: "a", Mode: aFile}, {Path: "a", Mode: aFile}}, `"a" cannot be in an image twice`},
		{"two roots", []Node{root, root}, "twice"},
		{"hard link and file", []Node{root, {Path: "a", Mode: aFile}, {Path: "b", Mode: aFile}, {Path: "a", HardlinkTo: "b"}}, "twice"},
		{"hard link to nothing", []Node{root, {Path: "a", HardlinkTo: "b"}}, `"a" cannot be a hard link to "b"`},
		{"hard link to a directory", []Node{root, {Path: "d", Mode: aDir}, {Path: "a", HardlinkTo: "d"}}, "cannot be a hard link"},
		{"hard link to a hard link", []Node{root, {Path: "f", Mode: aFile}, {Path: "a", HardlinkTo: "b"}, {Path: "b", HardlinkTo: "f"}}, "cannot be a hard link"},
		{"hard link to itself", []Node{root, {Path: "a", HardlinkTo: "a"}}, "cannot be a hard link"},
		{"hard link without a parent", []Node{root, {Path: "f", Mode: aFile}, {Path: "d/a", HardlinkTo: "f"}}, "its parent"},
		{"absolute", []Node{root, {Path: "/a", Mode: aFile}}, "not clean"},
		{"slash at the end", []Node{root, {Path: "a/", Mode: aDir}}, "not clean"},
		{"two slashes", []Node{root, {Path: "a", Mode: aDir}, {Path: "a//b", Mode: aFile}}, "not clean"},
		{"dot", []Node{root, {Path: ".", Mode: aDir}}, "not clean"},
		{"dots", []Node{root, {Path: "a", Mode: aDir}, {Path: "a/../b", Mode: aFile}}, "not clean"},
		{"hard link that is not clean", []Node{root, {Path: "f", Mode: aFile}, {Path: "..", HardlinkTo: "f"}}, "not clean"},
		{"NUL", []Node{root, {Path: "a\x00", Mode: aFile}}, "NUL"},
		{"long name", []Node{root, {Path: long, Mode: aFile}}, "more than 255 bytes"},
		{"long name of a directory", []Node{root, {Path: long, Mode: aDir}, {Path: long + "/a", Mode: aFile}}, "more than 255 bytes"},
		{"no type", []Node{root, {Path: "a", Mode: 0o644}}, "no supported type"},
		{"socket", []Node{root, {Path: "a", Mode: unix.S_IFSOCK | 0o644}}, "no supported type"},
		{"mode with more than 16 bits", []Node{root, {Path: "a", Mode: 1<<16 | aFile}}, "no supported type"},
		{"size below zero", []Node{root, {Path: "a", Mode: aFile, Size: -1}}, "-1 bytes"},
		{"symbolic link to nothing", []Node{root, {Path: "a", Mode: aSymlink}}, "1 to 4095 bytes"},
		{"long symbolic link", []Node{root, {Path: "a", Mode: aSymlink, Link: strings.Repeat("x", maxLink+1)}}, "1 to 4095 bytes"},
		{"symbolic link with NUL", []Node{root, {Path: "a", Mode: aSymlink, Link: "x\x00y"}}, "no NUL"},
		{"major number", []Node{root, {Path: "a", Mode: unix.S_IFCHR, Major: maxMajor + 1}}, "device number"},
		{"minor number", []Node{root, {Path: "a", Mode: unix.S_IFBLK, Minor: maxMinor + 1}}, "device number"},
		{"huge file", []Node{root, {Path: "a", Mode: aFile, Size: math.MaxInt64}}, `placing "a": an image cannot have more`},
		{"many large files", []Node{root, {Path: "a", Mode: aFile, Size: 1 << 43}, {Path: "b", Mode: aFile, Size: 1 << 43}}, `placing "b"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			size, err := write(t.Context(), &out, tt.nodes, func(context.Context, int) (io.ReadCloser, error) {
				t.Error("content is opened")
				return nil, io.EOF
			}, 4096)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if size != 0 || out.Len() > 0 {
				t.Errorf("%d bytes, and %d are written", size, out.Len())
			}
		})
	}
}

// TestLargest places what still fits.
func TestLargest(t *testing.T) {
	nodes := []Node{{Mode: aDir}, {Path: "a", Mode: aFile, Size: (math.MaxUint32 - 2) * 4096}}
	inodes, err := link(nodes)
	if err != nil {
		t.Fatal(err)
	}
	l := &layout{blockSize: 4096, nodes: nodes, inodes: inodes}
	if err := l.place(); err != nil || l.blocks != math.MaxUint32 {
		t.Errorf("%d blocks: %v", l.blocks, err)
	}
}

// TestDirectorySize has directories whose last block is full, almost, and no longer.
func TestDirectorySize(t *testing.T) {
	for size := 4095; size <= 4097; size++ {
		s := &sample{contents: map[string][]byte{}}
		s.add(Node{Mode: aDir})
		s.directory("d", size)
		inodes, err := link(s.nodes)
		if err != nil {
			t.Fatal(err)
		}
		want := int64(size)
		if size > 4096 {
			// The last entry is in a block of its own.
			last := inodes[1].entries[len(inodes[1].entries)-1]
			want = 4096 + direntSize + int64(len(last.name))
		}
		if got := directorySize(inodes[1].entries, 4096); got != want {
			t.Errorf("entries of %d bytes make a directory of %d, not %d", size, got, want)
		}
	}
}

// closing is content whose closing is noted.
type closing struct {
	io.Reader
	closed *int
	err    error
}

func (c closing) Close() error {
	*c.closed++
	return c.err
}

func TestContents(t *testing.T) {
	broken := errors.New("broken")
	text := strings.Repeat("0123456789", bufferSize/10+1) // does not fit into the buffer
	tests := []struct {
		name    string
		content io.Reader
		closing error
		want    string // the error, if any
		is      error
	}{
		{"exact", strings.NewReader(text), nil, "", nil},
		{"byte after byte", iotest.OneByteReader(strings.NewReader(text)), nil, "", nil},
		{"with the end at once", iotest.DataErrReader(strings.NewReader(text)), nil, "", nil},
		{"short", strings.NewReader(text[1:]), nil, `writing "d/f" into an image: content has 262149 bytes of 262150`, io.ErrUnexpectedEOF},
		{"nothing", strings.NewReader(""), nil, "content has 0 bytes of 262150", io.ErrUnexpectedEOF},
		{"long", strings.NewReader(text + "!"), nil, `writing "d/f" into an image: content has more than 262150 bytes`, nil},
		{"long, byte after byte", iotest.OneByteReader(strings.NewReader(text + "!")), nil, "content has more than 262150 bytes", nil},
		{"broken", io.MultiReader(strings.NewReader(text[:100]), iotest.ErrReader(broken)), nil, `writing "d/f" into an image: broken`, broken},
		{"broken at the end", io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), nil, "broken", broken},
		{"broken when closed", strings.NewReader(text), broken, "broken", broken},
		{"stuck", stuck{}, nil, "multiple Read calls", io.ErrNoProgress},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			closed := 0
			nodes := []Node{{Path: "d/f", Mode: aFile, Size: int64(len(text))}, {Path: "d", Mode: aDir}, {Mode: aDir}}
			var out bytes.Buffer
			size, err := Write(t.Context(), &out, nodes, func(context.Context, int) (io.ReadCloser, error) {
				return closing{tt.content, &closed, tt.closing}, nil
			})
			if closed != 1 {
				t.Errorf("closed %d times", closed)
			}
			if tt.want == "" {
				if err != nil || size != int64(out.Len()) || !strings.Contains(out.String(), text) {
					t.Errorf("%d bytes, without the content: %v", size, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if size != 0 {
				t.Errorf("size is %d", size)
			}
		})
	}
}

// stuck never gives anything, nor ends.
type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestOrder asks for what is not empty, once, in the order of nodes, one after the other.
func TestOrder(t *testing.T) {
	s := &sample{contents: map[string][]byte{}}
	s.file(Node{Path: "z", Mode: aFile}, []byte("z"))
	s.add(Node{Path: "link", HardlinkTo: "b", Mode: aFile, Size: 5})
	s.add(Node{Mode: aDir, Size: 5})
	s.file(Node{Path: "empty", Mode: aFile}, nil)
	s.add(Node{Path: "fifo", Mode: unix.S_IFIFO, Size: 5})
	s.file(Node{Path: "b", Mode: aFile}, []byte("b"))
	s.file(Node{Path: "a", Mode: aFile}, []byte("a"))
	var opened []int
	closed := 0
	var first, second bytes.Buffer
	_, err := Write(t.Context(), &first, s.nodes, func(ctx context.Context, i int) (io.ReadCloser, error) {
		if closed != len(opened) {
			t.Errorf("%d is opened while another is open", i)
		}
		opened = append(opened, i)
		r, err := s.open(ctx, i)
		return closing{r, &closed, nil}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 5, 6}; !slices.Equal(opened, want) {
		t.Errorf("opened %v, want %v", opened, want)
	}
	if _, err := Write(t.Context(), &second, s.nodes, s.open); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same nodes make other bytes")
	}
}

func TestWriteFails(t *testing.T) {
	broken := errors.New("broken")
	s := &sample{contents: map[string][]byte{}}
	s.add(Node{Mode: aDir})
	s.file(Node{Path: "a", Mode: aFile}, randomBytes(2*bufferSize))
	s.file(Node{Path: "b", Mode: aFile}, randomBytes(2*bufferSize))
	t.Run("content that cannot be opened", func(t *testing.T) {
		_, err := Write(t.Context(), io.Discard, s.nodes, func(context.Context, int) (io.ReadCloser, error) { return nil, broken })
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("full disk", func(t *testing.T) {
		size, err := Write(t.Context(), io.Discard, s.nodes, s.open)
		if err != nil {
			t.Fatal(err)
		}
		for room := 0; room < int(size); room += 64 << 10 {
			if _, err := Write(t.Context(), &disk{room, unix.ENOSPC}, s.nodes, s.open); !errors.Is(err, unix.ENOSPC) {
				t.Errorf("with room for %d bytes, the error is %v", room, err)
			}
		}
	})
	t.Run("short write", func(t *testing.T) {
		if _, err := Write(t.Context(), &disk{100, nil}, s.nodes, s.open); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("cancelled before", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(broken)
		var out bytes.Buffer
		if _, err := Write(ctx, &out, s.nodes, s.open); !errors.Is(err, broken) || out.Len() > 0 {
			t.Errorf("error is %v, %d bytes", err, out.Len())
		}
	})
	t.Run("cancelled within a file", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		endless := []Node{{Mode: aDir}, {Path: "a", Mode: aFile, Size: 1 << 40}}
		_, err := Write(ctx, io.Discard, endless, func(context.Context, int) (io.ReadCloser, error) {
			return io.NopCloser(readerFunc(func(p []byte) (int, error) {
				cancel(broken)
				return len(p), nil
			})), nil
		})
		if !errors.Is(err, broken) {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("cancelled between files", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		small := []Node{{Mode: aDir}, {Path: "a", Mode: aFile, Size: 1}, {Path: "b", Mode: aFile, Size: 1}}
		opened := 0
		_, err := Write(ctx, io.Discard, small, func(context.Context, int) (io.ReadCloser, error) {
			opened++
			cancel(broken)
			return io.NopCloser(strings.NewReader("x")), nil
		})
		if !errors.Is(err, broken) || opened != 1 {
			t.Errorf("error is %v, %d opened", err, opened)
		}
	})
}

// disk has room for some bytes.
type disk struct {
	room int
	err  error // when it is full
}

func (d *disk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	if n < len(p) {
		return n, d.err
	}
	return n, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
