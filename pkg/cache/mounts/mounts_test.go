package mounts

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/cache/bucket"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/state"
)

func goCache() op.CacheMount {
	return op.CacheMount{Name: fmt.Sprintf("%x", sha256.Sum256([]byte("go"))), ID: "/root/.cache/go-build"}
}

// machine is a new one, with a state directory of its own.
type machine struct {
	*Mounts
	dir      string // of the cache
	restored bool
	warnings []string
}

func newMachine(t *testing.T, s cache.Store, change ...func(*Options)) *machine {
	t.Helper()
	st, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &machine{dir: t.TempDir()}
	o := Options{
		From: []cache.Store{s}, To: []cache.Store{s}, Modes: Modes{"": Both}, State: st, Now: time.Unix(1_700_000_000, 0),
		Warn: func(w string) { m.warnings = append(m.warnings, w) },
	}
	for _, c := range change {
		c(&o)
	}
	m.Mounts = New(o)
	if m.restored, err = m.Restore(t.Context(), goCache(), m.dir); err != nil {
		t.Fatal(err)
	}
	m.Used(goCache(), m.dir)
	return m
}

// save ends a build without any warning.
func (m *machine) save(t *testing.T) {
	t.Helper()
	m.Save(t.Context())
	if len(m.warnings) > 0 {
		t.Fatalf("warnings: %q", m.warnings)
	}
}

func (m *machine) write(t *testing.T, name, content string) {
	t.Helper()
	p := filepath.Join(m.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// list tells everything about the files of a cache.
func (m *machine) list(t *testing.T) string {
	t.Helper()
	files, err := list(m.dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range files {
		f.Stamp.Dev, f.Stamp.Ino = 0, 0
		fmt.Fprintf(&b, "%+v", f)
		if f.Size > 0 {
			data, err := os.ReadFile(filepath.Join(m.dir, f.Path))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, " %x", sha256.Sum256(data))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (m *machine) same(t *testing.T, as string) {
	t.Helper()
	if got := m.list(t); got != as {
		t.Fatalf("restored is\n%sexpected is\n%s", got, as)
	}
}

// record is what the store has.
func record(t *testing.T, s cache.Store) *cache.Record {
	t.Helper()
	raw, err := s.Manifest(t.Context(), manifestName(goCache().Name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := cache.Unmarshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	s := bucket.Memory(t.Context())
	first := newMachine(t, s)
	if first.restored {
		t.Error("something was restored out of nothing")
	}
	first.write(t, "a/b", "content")
	first.write(t, "empty", "")
	in := func(name string) string { return filepath.Join(first.dir, name) }
	old := time.Unix(1_000_000_000, 123_456_789)
	if err := errors.Join(
		os.Symlink("a/b", in("link")), os.Link(in("a/b"), in("hard")), unix.Mkfifo(in("fifo"), 0o600),
		os.Mkdir(in("sticky"), 0o700), os.Chmod(in("sticky"), 0o1777|os.ModeSticky), os.Chmod(in("empty"), 0o400),
		os.Chtimes(in("a/b"), old, old), os.Chtimes(in("a"), old, old), os.Chmod(first.dir, 0o750),
	); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(in("empty"), 1000, 1001); err != nil {
			t.Fatal(err)
		}
	}
	first.save(t)
	second := newMachine(t, s)
	if !second.restored {
		t.Error("nothing was restored")
	}
	second.same(t, first.list(t))
}

func TestOnlyChangesTravel(t *testing.T) {
	s := bucket.Memory(t.Context())
	first := newMachine(t, s)
	r := rand.New(rand.NewPCG(1, 2))
	big := make([]byte, 1<<20)
	for i := range big {
		big[i] = byte(r.Uint32())
	}
	first.write(t, "big", string(big))
	first.save(t)
	second := newMachine(t, s)
	second.save(t)
	if n := len(record(t, s).Outputs); n != 1 {
		t.Errorf("without a change, there are %d layers", n)
	}
	second.write(t, "small", "x")
	second.save(t)
	got := record(t, s).Outputs
	if len(got) != 2 || got[1].Layer.Size > 10_000 {
		t.Errorf("after a small change, the layers are %+v", got)
	}
	third := newMachine(t, s)
	third.same(t, second.list(t))
}

// However a cache changes from build to build: the next one has what the last one left.
func TestRandomChanges(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("the seed is %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := bucket.Memory(t.Context())
	m := newMachine(t, s)
	for build := range 40 {
		for range r.IntN(6) {
			m.change(t, r)
		}
		m.save(t)
		if n := len(record(t, s).Outputs); n > maxLayers {
			t.Fatalf("build %d: there are %d layers", build, n)
		}
		next := newMachine(t, s)
		next.same(t, m.list(t))
		m = next
	}
}

func (m *machine) change(t *testing.T, r *rand.Rand) {
	t.Helper()
	name := func() string {
		p := string(rune('a' + r.IntN(4)))
		for range r.IntN(3) {
			p += "/" + string(rune('a'+r.IntN(4)))
		}
		return filepath.Join(m.dir, p)
	}
	p := name()
	// What is in the way of the new one goes; what is missing above it fails, and no matter.
	var err error
	switch r.IntN(6) {
	case 0:
		err = os.RemoveAll(p)
	case 1, 2:
		if err = os.RemoveAll(p); err == nil {
			err = os.WriteFile(p, fmt.Append(nil, r.Uint64()), 0o644)
		}
	case 3:
		err = os.MkdirAll(p, 0o755)
	case 4:
		if err = os.RemoveAll(p); err == nil {
			err = os.Symlink(name(), p)
		}
	case 5:
		err = os.Link(name(), p)
	}
	for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.EEXIST, unix.EPERM, unix.ELOOP, unix.EISDIR} {
		if errors.Is(err, e) {
			return
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTooLargeStartsOver(t *testing.T) {
	s := bucket.Memory(t.Context())
	limit := func(o *Options) { o.MaxSize = 10 }
	first := newMachine(t, s, limit)
	first.write(t, "a", "12345")
	first.save(t)
	second := newMachine(t, s, limit)
	second.write(t, "b", "1234567")
	second.Save(t.Context())
	if len(second.warnings) != 1 || !strings.Contains(second.warnings[0], "starts over") {
		t.Errorf("warnings are %q", second.warnings)
	}
	third := newMachine(t, s, limit)
	if entries, err := os.ReadDir(third.dir); err != nil || len(entries) > 0 {
		t.Errorf("restored is %v (%v)", entries, err)
	}
}

func TestModes(t *testing.T) {
	for mode, want := range map[Mode]struct{ saved, restored bool }{
		Both: {true, true}, SaveOnly: {true, false}, RestoreOnly: {false, true}, Off: {false, false},
	} {
		s := bucket.Memory(t.Context())
		full := newMachine(t, s)
		full.write(t, "a", "a")
		full.save(t)
		// Of two modes, that of the id counts.
		m := newMachine(t, s, func(o *Options) { o.Modes = Modes{"": Off, goCache().ID: mode} })
		if m.restored != want.restored {
			t.Errorf("%s: restored: %v", mode, m.restored)
		}
		m.write(t, "b", "b")
		if m.Pending() != want.saved {
			t.Errorf("%s: pending: %v", mode, m.Pending())
		}
		m.save(t)
		_, err := os.Stat(filepath.Join(newMachine(t, s).dir, "b"))
		if saved := err == nil; saved != want.saved {
			t.Errorf("%s: saved: %v", mode, saved)
		}
	}
	for _, bad := range []string{"", "on", "id=", "=x", "id=both=x"} {
		if got, err := ParseModes([]string{bad}); err == nil {
			t.Errorf("%q was accepted as %v", bad, got)
		}
	}
	got, err := ParseModes([]string{"both", "go=off", "a=b=save"})
	if err != nil || got.of("x") != Both || got.of("go") != Off || got.of("a=b") != SaveOnly {
		t.Errorf("%v (%v)", got, err)
	}
}

func TestDamage(t *testing.T) {
	path := t.TempDir()
	s, err := bucket.Dir(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	full := newMachine(t, s)
	full.write(t, "a", strings.Repeat("a", 1000))
	full.save(t)
	blobs, err := filepath.Glob(filepath.Join(path, "blobs/sha256/*"))
	if err != nil || len(blobs) != 3 {
		t.Fatalf("%v %q", err, blobs)
	}
	for _, b := range blobs {
		data, err := os.ReadFile(b)
		if err != nil {
			t.Fatal(err)
		}
		data = slices.Clone(data)
		data[len(data)/2] ^= 1
		if err := os.WriteFile(b, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := newMachine(t, s)
	entries, err := os.ReadDir(m.dir)
	if err != nil || len(entries) > 0 || m.restored {
		t.Errorf("restored is %v (%v)", entries, err)
	}
	if len(m.warnings) != 1 || !strings.Contains(m.warnings[0], "is not restored") {
		t.Errorf("warnings are %q", m.warnings)
	}
}

// What is damaged is written anew by whoever finds it so, also if all that it holds is as before.
func TestDamageIsRepaired(t *testing.T) {
	for _, what := range []string{"layer", "index"} {
		t.Run(what, func(t *testing.T) {
			path := t.TempDir()
			s, err := bucket.Dir(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			old := time.Unix(1_000_000_000, 0)
			fill := func(m *machine) {
				t.Helper()
				m.write(t, "a", strings.Repeat("a", 1000))
				if err := errors.Join(os.Chtimes(filepath.Join(m.dir, "a"), old, old), os.Chtimes(m.dir, old, old)); err != nil {
					t.Fatal(err)
				}
			}
			first := newMachine(t, s)
			fill(first)
			first.save(t)
			damaged := record(t, s).Outputs[0].Layer
			if what == "index" {
				damaged = record(t, s).Outputs[0].Index
			}
			if err := os.WriteFile(filepath.Join(path, "blobs/sha256", damaged.Digest.Hex), make([]byte, damaged.Size), 0o600); err != nil {
				t.Fatal(err)
			}
			second := newMachine(t, s)
			if second.restored {
				t.Error("what is damaged was restored")
			}
			fill(second)
			second.Save(t.Context())
			if got := record(t, s).Outputs[0]; got.Layer.Digest != damaged.Digest && got.Index.Digest != damaged.Digest {
				t.Fatalf("what is kept now is another: %+v", got)
			}
			third := newMachine(t, s)
			third.same(t, first.list(t))
			third.save(t)
		})
	}
}

func TestInUse(t *testing.T) {
	s := bucket.Memory(t.Context())
	m := newMachine(t, s)
	unlock, err := m.State.TryLock(op.CacheMountLock(goCache().Name))
	if unlock == nil || err != nil {
		t.Fatal(err)
	}
	defer unlock()
	m.Save(t.Context())
	if len(m.warnings) != 1 || !strings.Contains(m.warnings[0], "another build is using it") {
		t.Errorf("warnings are %q", m.warnings)
	}
}
