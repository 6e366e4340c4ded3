package scan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/extract"
	"github.com/slipway-build/slipway/pkg/isolation/isolationtest"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// extracted extracts files into a directory of the test.
func extracted(tb testing.TB, files ...layer.File) (string, *os.Root, *tree.View) {
	tb.Helper()
	view, err := tree.New(isolationtest.Layer(tb, files...)).View(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	if err := extract.Dir(tb.Context(), view.Root(), dir); err != nil {
		tb.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = root.Close() })
	return dir, root, view
}

func take(tb testing.TB, dir string) *Snapshot {
	tb.Helper()
	s, err := Take(tb.Context(), dir)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// What only the status of a file can tell, and what must not be taken for a change. The suite
// of package isolationtest has what processes usually do.
func TestChanges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("extracting owners needs root")
	}
	for _, test := range []struct {
		name   string
		change func(dir string) error
		want   []string
	}{
		{"nothing", func(string) error { return nil }, nil},
		{"moving away and back", func(d string) error {
			return errors.Join(os.Rename(d+"/d", d+"/e"), os.Rename(d+"/e", d+"/d"), os.Rename(d+"/d/f", d+"/f"), os.Rename(d+"/f", d+"/d/f"), untouch(d+"/d"))
		}, nil},
		{"other bytes at the same time, of the same length", func(d string) error {
			return errors.Join(os.WriteFile(d+"/d/f", []byte("y"), 0o644), untouch(d+"/d/f"))
		}, []string{"d", "d/f"}},
		{"the same bytes at the same time", func(d string) error {
			return errors.Join(os.WriteFile(d+"/d/f", []byte("x"), 0o644), untouch(d+"/d/f"))
		}, nil},
		{"a directory made again, with the inode number of the removed one", func(d string) error {
			return errors.Join(os.RemoveAll(d+"/d/sub"), os.Mkdir(d+"/d/sub", 0o755), untouch(d+"/d/sub"), untouch(d+"/d"))
		}, []string{"d", "d/sub opaque"}},
		{"a directory removed", func(d string) error { return errors.Join(os.RemoveAll(d+"/d/sub"), untouch(d+"/d")) }, []string{"d", "d/sub gone"}},
		{"a time before 1970", func(d string) error {
			return unix.UtimesNanoAt(unix.AT_FDCWD, d+"/d/f", []unix.Timespec{{}, {Sec: -5, Nsec: 7}}, 0)
		}, []string{"d", "d/f"}},
		{"swapping two files", func(d string) error {
			return unix.Renameat2(unix.AT_FDCWD, d+"/d/f", unix.AT_FDCWD, d+"/d/g", unix.RENAME_EXCHANGE)
		}, []string{"d", "d/f", "d/g"}},
		{"a file of two names, changed and changed back", func(d string) error { return errors.Join(os.Chmod(d+"/two", 0o600), os.Chmod(d+"/two", 0o644)) }, nil},
		{"a file of two names", func(d string) error { return os.Chmod(d+"/two", 0o600) }, []string{"two", "two.2 hard"}},
		{"a new name for a file", func(d string) error { return os.Link(d+"/d/f", d+"/h") }, []string{"d", "d/f", "h hard"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, root, view := extracted(t, isolationtest.Dir("d", 0o755), isolationtest.Dir("d/sub", 0o755),
				isolationtest.File("d/sub/s", 0o644, "s"), isolationtest.File("d/f", 0o644, "x"), isolationtest.File("d/g", 0o644, "g"),
				isolationtest.File("two", 0o644, "2"), isolationtest.Hardlink("two.2", "two"))
			before := take(t, dir)
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			files, err := Changes(t.Context(), root, before, take(t, dir), view)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for f := range files.All() {
				// The times of directories are not the subject.
				line := f.Path
				switch {
				case f.Type == layer.Whiteout:
					line += " gone"
				case f.Type == layer.Hardlink:
					line += " hard"
				case f.Opaque:
					line += " opaque"
				}
				got = append(got, line)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("changes are %q, want %q", got, test.want)
			}
		})
	}
}

// untouch gives a file the time that it was extracted with.
func untouch(path string) error {
	return os.Chtimes(path, time.Time{}, isolationtest.Epoch())
}

// BenchmarkFindOne finds the one file among 100,000 that has changed. Beside the time, it tells what
// both processors spent, which other load on the machine does not distort as much.
func BenchmarkFindOne(b *testing.B) {
	var files []layer.File
	for i := range 100_000 {
		files = append(files, isolationtest.File(fmt.Sprintf("srv/%03d/%d", i/200, i), 0o644, "x"))
	}
	dir, root, view := extracted(b, files...)
	before := take(b, dir)
	if err := os.Chtimes(filepath.Join(dir, "srv/001/201"), time.Time{}, time.Unix(5, 0)); err != nil {
		b.Fatal(err)
	}
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := used()
	for b.Loop() {
		found, err := Changes(b.Context(), root, before, take(b, dir), view)
		if err != nil || found.Len() != 3 {
			b.Fatalf("found %v (%v)", found, err)
		}
	}
	b.ReportMetric(float64((used()-start).Milliseconds())/float64(b.N), "cpu-ms/op")
}
