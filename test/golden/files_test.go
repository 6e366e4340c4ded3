package golden

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// fileSpec is one line of the "files" section or of an archive's section:
//
//	PATH [content=TEXT | zeros=BYTES | dir | symlink=TARGET | hardlink=PATH | fifo | char=MAJOR:MINOR |
//	      block=MAJOR:MINOR | oci-layout=IMAGE | truncate=BYTES] [mode=OCTAL] [owner=UID:GID] [mtime=RFC3339] [xattr=NAME=VALUE]...
//
// Values with blanks or escapes are quoted as in Go. Without a kind the line changes what is there
// already; in an archive a path that ends in a slash is a directory.
type fileSpec struct {
	path         string
	kind         string // the key that gave it, "" for none
	value        string // the value of that key
	mode         *uint32
	uid, gid     int
	owned        bool
	mtime        time.Time
	xattrs       [][2]string
	major, minor uint32
}

// defaultMtime is the time of all input that says nothing else.
func defaultMtime() time.Time { return time.Date(2025, 5, 5, 5, 5, 5, 0, time.UTC) }

func parseFileSpecs(text string) ([]fileSpec, error) {
	var specs []fileSpec
	for _, line := range contentLines(text) {
		s, err := parseFileSpec(line)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		specs = append(specs, s)
	}
	return specs, nil
}

func parseFileSpec(line string) (fileSpec, error) {
	words, err := splitWords(line)
	if err != nil {
		return fileSpec{}, err
	}
	s := fileSpec{path: words[0], mtime: defaultMtime()}
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		if err := s.set(key, value); err != nil {
			return fileSpec{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	if s.kind == "" && strings.HasSuffix(s.path, "/") {
		s.kind = "dir"
	}
	return s, nil
}

func (s *fileSpec) set(key, value string) (err error) {
	switch key {
	case "content", "zeros", "dir", "symlink", "hardlink", "fifo", "oci-layout", "truncate":
		s.kind, s.value = key, value
	case "char", "block":
		s.kind = key
		_, err = fmt.Sscanf(value, "%d:%d", &s.major, &s.minor)
	case "mode":
		var mode uint64
		mode, err = strconv.ParseUint(value, 8, 32)
		s.mode = new(uint32)
		*s.mode = uint32(mode)
	case "owner":
		s.owned = true
		_, err = fmt.Sscanf(value, "%d:%d", &s.uid, &s.gid)
	case "mtime":
		s.mtime, err = time.Parse(time.RFC3339Nano, value)
	case "xattr":
		name, value, ok := strings.Cut(value, "=")
		if !ok {
			return errors.New("no NAME=VALUE")
		}
		s.xattrs = append(s.xattrs, [2]string{name, value})
	default:
		return errors.New("unknown key")
	}
	return err
}

// splitWords splits a line at blanks; parts of words may be quoted as in Go.
func splitWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	for line != "" {
		switch line[0] {
		case ' ', '\t':
			if inWord {
				words = append(words, word.String())
				word.Reset()
			}
			inWord, line = false, line[1:]
		case '"':
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, err
			}
			text, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, err
			}
			word.WriteString(text)
			inWord, line = true, line[len(quoted):]
		default:
			word.WriteByte(line[0])
			inWord, line = true, line[1:]
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// write makes the file below dir.
func (s *fileSpec) write(dir string, bases *bases) error {
	p := filepath.Join(dir, s.path)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	if err := s.create(p, dir, bases); err != nil {
		return err
	}
	if s.owned {
		if err := os.Lchown(p, s.uid, s.gid); err != nil {
			return err
		}
	}
	if s.mode != nil {
		if err := syscall.Chmod(p, *s.mode); err != nil {
			return err
		}
	}
	for _, x := range s.xattrs {
		if err := syscall.Setxattr(p, x[0], []byte(x[1]), 0); err != nil {
			return fmt.Errorf("xattr %s: %w", x[0], err)
		}
	}
	return nil
}

func (s *fileSpec) create(p, dir string, bases *bases) error {
	device := int(s.major<<8 | s.minor)
	switch s.kind {
	case "":
		_, err := os.Lstat(p)
		return err
	case "content":
		return os.WriteFile(p, []byte(s.value), 0o644)
	case "zeros":
		data, err := zeros(s.value)
		if err != nil {
			return err
		}
		return os.WriteFile(p, data, 0o644)
	case "dir":
		return os.MkdirAll(p, 0o755)
	case "symlink":
		return os.Symlink(s.value, p)
	case "hardlink":
		return os.Link(filepath.Join(dir, s.value), p)
	case "fifo":
		return syscall.Mkfifo(p, 0o644)
	case "char":
		return syscall.Mknod(p, syscall.S_IFCHR|0o644, device)
	case "block":
		return syscall.Mknod(p, syscall.S_IFBLK|0o644, device)
	case "truncate":
		size, err := strconv.ParseInt(s.value, 10, 64)
		if err != nil {
			return err
		}
		return os.Truncate(p, size)
	case "oci-layout":
		return bases.writeLayout(s.value, p)
	}
	return fmt.Errorf("unknown kind %q", s.kind)
}

func zeros(size string) ([]byte, error) {
	n, err := strconv.Atoi(size)
	return make([]byte, max(n, 0)), err
}

// setDefaultTimes gives everything below dir the default time, or that of its spec. The default has a
// fraction of a second that is different for each directory: BuildKit takes files of the same path, size and
// time for the same, in whatever context they are. Layers have no fractions.
func setDefaultTimes(dir string, specs []fileSpec) error {
	fraction := fnv.New32()
	fraction.Write([]byte(dir)) // never fails
	standard := defaultMtime().Add(time.Duration(fraction.Sum32()) % time.Second)
	times := map[string]time.Time{}
	for _, s := range specs {
		if s.mtime != defaultMtime() {
			times[filepath.Join(dir, s.path)] = s.mtime
		}
	}
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mtime, ok := times[p]
		if !ok {
			mtime = standard
		}
		return lutimes(p, mtime)
	})
}

// makeArchive makes a tar with the compression that the name's extension says.
func makeArchive(name string, specs []fileSpec) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, s := range specs {
		if err := s.addTo(w); err != nil {
			return nil, fmt.Errorf("%s: %w", s.path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return compress(path.Ext(name), b.Bytes())
}

func (s *fileSpec) addTo(w *tar.Writer) error {
	h := tar.Header{Name: s.path, Typeflag: tar.TypeReg, Mode: 0o644, Uid: s.uid, Gid: s.gid, ModTime: s.mtime, Format: tar.FormatPAX}
	var content []byte
	switch s.kind {
	case "content":
		content = []byte(s.value)
	case "zeros":
		var err error
		if content, err = zeros(s.value); err != nil {
			return err
		}
	case "dir":
		h.Typeflag, h.Mode = tar.TypeDir, 0o755
	case "symlink":
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, s.value, 0o777
	case "hardlink":
		h.Typeflag, h.Linkname = tar.TypeLink, s.value
	case "fifo":
		h.Typeflag = tar.TypeFifo
	case "char":
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, int64(s.major), int64(s.minor)
	case "block":
		h.Typeflag, h.Devmajor, h.Devminor = tar.TypeBlock, int64(s.major), int64(s.minor)
	}
	if s.mode != nil {
		h.Mode = int64(*s.mode)
	}
	h.Size = int64(len(content))
	for _, x := range s.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+x[0]] = x[1]
	}
	if err := w.WriteHeader(&h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func compress(extension string, data []byte) ([]byte, error) {
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch extension {
	case ".tar":
		return data, nil
	case ".gz", ".tgz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	case ".bz2": // Go's library only reads it
		cmd := exec.Command("bzip2")
		cmd.Stdin = bytes.NewReader(data)
		return cmd.Output()
	default:
		return nil, fmt.Errorf("unknown archive extension %q", extension)
	}
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}
