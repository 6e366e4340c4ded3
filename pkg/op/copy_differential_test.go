package op

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/continuity/fs"
	fscopy "github.com/tonistiigi/fsutil/copy"
)

var (
	differentialSeed  = flag.Uint64("differential.seed", 0, "seed of the first random case, 0 for a new one each time")
	differentialCases = flag.Int("differential.cases", 300, "number of random cases")
)

// runDifferential runs random cases, each with a seed of its own that can be given again.
func runDifferential(t *testing.T, run func(t *testing.T, r *rand.Rand)) {
	needRealRoot(t)
	seed := *differentialSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	for i := range uint64(*differentialCases) {
		ok := t.Run(fmt.Sprintf("seed %d", seed+i), func(t *testing.T) {
			run(t, rand.New(rand.NewPCG(seed+i, 0)))
		})
		if !ok {
			t.Fatalf("repeat with: -differential.seed=%d -differential.cases=1", seed+i)
		}
	}
}

// TestCopyLikeBuildKit copies random trees with random options, here and with the library that
// BuildKit copies with, on real directories.
func TestCopyLikeBuildKit(t *testing.T) {
	failed := 0
	runDifferential(t, func(t *testing.T, r *rand.Rand) {
		dir := t.TempDir()
		src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
		for _, d := range []string{src, dst} {
			must(t, os.Mkdir(d, 0o755))
			randomTree(t, r, d, true)
			settle(t, r, d)
		}
		c := randomCopy(r)
		srcTree, dstTree := diskTree(t, src), diskTree(t, dst)
		before := listTree(t, srcTree)

		start := time.Now().Add(-time.Second)
		wantErr := copyOnDisk(t.Context(), src, dst, c)
		got, gotErr := runCopy(t, dstTree, srcTree, c)
		describe := func() string {
			return fmt.Sprintf("%+v\nsource %v\ndestination %v", *c, before, listTree(t, dstTree))
		}
		if fi, err := os.Lstat(dst); err != nil || !fi.IsDir() {
			if gotErr == nil {
				t.Errorf("no error for a copy that replaces the root\n%s", describe())
			}
			return
		}
		if gotErr == nil && wantErr != nil && strings.Contains(wantErr.Error(), "failed to stat") && errors.Is(wantErr, syscall.ENOTDIR) {
			return // over the destination of what patterns leave out, see copyAction
		}
		if (wantErr != nil) != (gotErr != nil) {
			t.Errorf("on disk: %v\nhere:    %v\n%s", wantErr, gotErr, describe())
			return
		}
		if wantErr != nil {
			failed++
			return
		}
		if diff := compareListings(listTree(t, dstTree), listDisk(t, dst, start), listTree(t, got)); diff != "" {
			t.Errorf("- is on disk, + is ours:\n%s%s", diff, describe())
		}
	})
	if failed > *differentialCases*3/4 && *differentialCases > 100 {
		t.Errorf("%d of %d cases were errors: the test says little", failed, *differentialCases)
	}
}

func randomCopy(r *rand.Rand) *Copy {
	c := &Copy{
		Src: pickOne(r, "/", "/aa", "/bb", "cc", "/aa/bb", "/dd.txt", "/aa/", "/bb/.", "/*", "/*.txt", "/a?", "/*/bb", "/aa/*", "/[ab]*", "../aa"),
		Dest: pickOne(r, "/", "/aa", "/bb", "/new", "/new/", "/new/deep", "/aa/bb", "/aa/", "/aa/.", "cc/new", "../bb", "/aa/../cc",
			"/dd.txt", "/new/deep/"),
		Mode:                           pickOne(r, -1, -1, 0o600, 0o4711, 0o2755),
		ModeStr:                        pickOne(r, "", "", "", "u+x,go-w", "a=rX", "+X", "u=rwx,g=u,o=", "g+s", "+t", "640"),
		FollowSymlink:                  r.IntN(4) > 0,
		DirCopyContents:                r.IntN(3) > 0,
		CreateDestPath:                 r.IntN(4) > 0,
		AllowWildcard:                  r.IntN(4) > 0,
		AllowEmptyWildcard:             r.IntN(2) > 0,
		AlwaysReplaceExistingDestPaths: r.IntN(3) == 0,
	}
	if r.IntN(3) == 0 {
		tm := time.Unix(500, 5)
		c.Timestamp = &tm
	}
	if r.IntN(3) == 0 {
		c.Owner = &Owner{User: byID(5), Group: byID(6)}
	}
	patterns := func() []string {
		all := []string{"aa", "bb", "*.txt", "**/*.txt", "aa/bb", "**/bb", "*/cc", "!aa/bb", "!bb", "!**/dd.txt", "c*", "**"}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all[:1+r.IntN(3)]
	}
	if r.IntN(3) == 0 {
		c.Include = patterns()
	}
	if r.IntN(3) == 0 {
		c.Exclude = patterns()
	}
	return c
}

// copyOnDisk does what BuildKit's file backend does with a copy, without unpacking.
func copyOnDisk(ctx context.Context, src, dst string, c *Copy) error {
	if !c.CreateDestPath {
		p, err := fs.RootPath(dst, filepath.Join("/", c.Dest))
		if err != nil {
			return err
		}
		if _, err := os.Lstat(filepath.Dir(p)); err != nil {
			return err
		}
	}
	matches := []string{cleanPath(c.Src)}
	if c.AllowWildcard {
		var err error
		if matches, err = fscopy.ResolveWildcards(src, cleanPath(c.Src), c.FollowSymlink); err != nil {
			return err
		}
		if len(matches) == 0 && !c.AllowEmptyWildcard {
			return errors.New("not found")
		}
	}
	for _, m := range matches {
		if err := fscopy.Copy(ctx, src, m, dst, cleanPath(c.Dest), copyInfo(c)); err != nil {
			return err
		}
	}
	return nil
}

func copyInfo(c *Copy) fscopy.Opt {
	return func(ci *fscopy.CopyInfo) {
		ci.IncludePatterns, ci.ExcludePatterns = c.Include, c.Exclude
		ci.Chown = func(old *fscopy.User) (*fscopy.User, error) { return old, nil }
		if c.Owner != nil {
			own := &fscopy.User{UID: int(c.Owner.User.ID), GID: int(c.Owner.Group.ID)}
			ci.Chown = func(*fscopy.User) (*fscopy.User, error) { return own, nil }
		}
		ci.Utime = c.Timestamp
		if c.ModeStr != "" {
			ci.ModeStr = c.ModeStr
		} else if m := c.Mode; m != -1 {
			ci.Mode = &m
		}
		ci.CopyDirContents = c.DirCopyContents
		ci.FollowLinks = c.FollowSymlink
		ci.AlwaysReplaceExistingDestPaths = c.AlwaysReplaceExistingDestPaths
	}
}
