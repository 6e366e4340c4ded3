package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestLookupLikeKernel compares Lookup with openat2(2) and RESOLVE_IN_ROOT, which is the
// kernel's word on what a path means inside a root.
func TestLookupLikeKernel(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		spec := randomLinks(r)
		dir := t.TempDir()
		makeTree(t, dir, spec)
		root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		v := specView(t, spec)
		for range 200 {
			p := randomWay(r, 6)
			want, wantErr := kernelLookup(root, dir, p)
			if errors.Is(wantErr, unix.ENOSYS) || errors.Is(wantErr, unix.EPERM) {
				t.Skip("openat2 is not allowed here")
			}
			got, _, err := v.resolveStrict(p)
			if errors.Is(wantErr, syscall.ELOOP) && !errors.Is(err, syscall.ELOOP) {
				continue // the kernel gives up after 40 links
			}
			if got != want || !errors.Is(err, wantErr) {
				t.Fatalf("seed %d: %q: got %q, %v, the kernel %q, %v, in\n%s", seed, p, got, err, want, wantErr, spec)
			}
		}
		if err := unix.Close(root); err != nil {
			t.Fatal(err)
		}
	}
}

// resolveStrict is Lookup that says where it ended.
func (v *View) resolveStrict(p string) (string, *Node, error) {
	at, n, err := v.resolve(p, true, true)
	return at.String(), n, err
}

// randomLinks is a layer with some directories and files and many links.
func randomLinks(r *rand.Rand) string {
	seen := map[string]bool{"a": true, "b": true, "a/c": true}
	spec := "d a; d b; d a/c; "
	for range 12 {
		p := []string{"", "a/", "b/", "a/c/"}[r.IntN(4)] + []string{"f", "g", "x", "y", "z"}[r.IntN(5)]
		if seen[p] {
			continue
		}
		seen[p] = true
		if r.IntN(4) == 0 {
			spec += "f " + p + "; "
			continue
		}
		spec += "l " + p + " " + randomWay(r, 3) + "; "
	}
	return spec
}

// randomWay is a path without a final slash or dot, which Lookup knows nothing of.
func randomWay(r *rand.Rand, most int) string {
	var b strings.Builder
	if r.IntN(3) == 0 {
		b.WriteByte('/')
	}
	for range r.IntN(most) {
		b.WriteString([]string{"a/", "b/", "c/", "x/", "y/", "z/", "../", "./", "/"}[r.IntN(9)])
	}
	b.WriteString([]string{"a", "b", "c", "x", "y", "z", "f", "g", ".."}[r.IntN(9)])
	return b.String()
}

func makeTree(t *testing.T, dir, spec string) {
	t.Helper()
	for _, line := range specLines(spec) {
		words := strings.Fields(line)
		p := filepath.Join(dir, words[1])
		var err error
		switch words[0] {
		case "d":
			err = os.Mkdir(p, 0o755)
		case "f":
			err = os.WriteFile(p, nil, 0o644)
		case "l":
			err = os.Symlink(words[2], p)
		default:
			err = fmt.Errorf("unexpected type %s", words[0])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// kernelLookup returns the path inside dir that the kernel resolves p to.
func kernelLookup(root int, dir, p string) (string, error) {
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	fd, err := unix.Openat2(root, p, how)
	// Any rename on the machine meanwhile makes the kernel unsure about "..".
	for errors.Is(err, unix.EAGAIN) {
		fd, err = unix.Openat2(root, p, how)
	}
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	at, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", err
	}
	return strings.TrimPrefix(strings.TrimPrefix(at, dir), "/"), nil
}
