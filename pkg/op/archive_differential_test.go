package op

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/continuity/fs"
	"github.com/moby/go-archive"
	"github.com/moby/go-archive/chrootarchive"
	fscopy "github.com/tonistiigi/fsutil/copy"
)

// TestUnpackLikeBuildKit unpacks random archives, full of links and climbing names, over random
// trees, here and with the library that BuildKit unpacks with, on real directories.
func TestUnpackLikeBuildKit(t *testing.T) {
	runDifferential(t, func(t *testing.T, r *rand.Rand) {
		dst := filepath.Join(t.TempDir(), "dst")
		must(t, os.Mkdir(dst, 0o755))
		// Without hard links, which overlayfs breaks up where a plain directory does not.
		randomTree(t, r, dst, false)
		settle(t, r, dst)
		base := diskTree(t, dst)
		headers, bodies := randomArchive(r)
		data := writeTar(t, headers, bodies)
		c := &Copy{
			Src: "/archive", Mode: -1, CreateDestPath: true, AttemptUnpack: true,
			Dest: pickOne(r, "/", "/aa", "/bb/", "/new", "/aa/bb", "/new/cc/", "/aa/.."),
		}
		if r.IntN(3) == 0 {
			c.Owner = &Owner{User: byID(5), Group: byID(6)}
		}
		if r.IntN(3) == 0 {
			tm := time.Unix(500, 5)
			c.Timestamp = &tm
		}

		start := time.Now().Add(-time.Second)
		wantErr := unpackOnDisk(data, dst, c)
		got, gotErr := runCopy(t, base, withFile(t, data), c)
		describe := func() string {
			var b strings.Builder
			for _, h := range headers {
				fmt.Fprintf(&b, "%c %q -> %q %o %d:%d\n", h.Typeflag, h.Name, h.Linkname, h.Mode, h.Uid, h.Gid)
			}
			return fmt.Sprintf("to %s, owner %v, archive\n%sdestination %v", c.Dest, c.Owner, b.String(), listTree(t, base))
		}
		if (wantErr != nil) != (gotErr != nil) {
			t.Errorf("on disk: %v\nhere:    %v\n%s", wantErr, gotErr, describe())
			return
		}
		if wantErr == nil {
			if diff := compareListings(listTree(t, base), listDisk(t, dst, start), listTree(t, got)); diff != "" {
				t.Errorf("- is on disk, + is ours:\n%s%s", diff, describe())
			}
		}
	})
}

func randomArchive(r *rand.Rand) (headers []*tar.Header, bodies []string) {
	// Without names that climb out, which we refuse and go-archive cuts at the root.
	name := func() string {
		return pickOne(r, "aa", "bb", "cc", "dd.txt", "aa/bb", "aa/cc", "bb/aa", "new/aa", "cc/dd.txt/aa", "/aa", "/bb", "aa/../bb", "./cc", "aa/bb/cc")
	}
	for range 1 + r.IntN(6) {
		h := &tar.Header{
			Name: name(), Mode: int64(pickOne(r, 0o644, 0o700, 0o4755, 0o1777)), Uid: r.IntN(4), Gid: r.IntN(4), ModTime: time.Unix(2000+r.Int64N(50), 0),
		}
		body := ""
		switch r.IntN(11) {
		case 0, 1, 2:
			h.Typeflag = tar.TypeDir
			h.Name = pickOne(r, h.Name, h.Name+"/", "./", "/")
		case 3, 4, 5:
			h.Typeflag, body = tar.TypeReg, pickOne(r, "", "one", "another")
			h.Size = int64(len(body))
		case 6, 7:
			h.Typeflag = tar.TypeSymlink
			h.Linkname = pickOne(r, "aa", "../bb", "/", "..", "/aa/bb", "cc/..", "nowhere", "./bb", "bb/../../cc")
		case 8:
			// Without ".." in the middle, after which go-archive forgets mode and time.
			h.Typeflag, h.Linkname = tar.TypeLink, pickOne(r, "aa", "bb", "/bb", "../aa", "aa/bb", "./cc", "new/aa", "aa/cc")
		case 9:
			h.Typeflag = tar.TypeFifo
		case 10:
			h.Typeflag, h.Devmajor, h.Devminor = pickOne(r, byte(tar.TypeChar), tar.TypeBlock), 1, r.Int64N(9)+1
		}
		if (h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeDir) && r.IntN(3) == 0 {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.one": "9"}
		}
		headers, bodies = append(headers, h), append(bodies, body)
	}
	return headers, bodies
}

// unpackOnDisk does what BuildKit's file backend does with an archive.
func unpackOnDisk(data []byte, root string, c *Copy) error {
	dest, err := fs.RootPath(root, cleanPath(c.Dest))
	if err != nil {
		return err
	}
	opts := &archive.TarOptions{BestEffortXattrs: true}
	chown := func(*fscopy.User) (*fscopy.User, error) { return nil, nil }
	if c.Owner != nil {
		own := &fscopy.User{UID: int(c.Owner.User.ID), GID: int(c.Owner.Group.ID)}
		chown = func(*fscopy.User) (*fscopy.User, error) { return own, nil }
		opts.ChownOpts = &archive.ChownOpts{UID: own.UID, GID: own.GID}
	}
	if _, err := fscopy.MkdirAll(dest, 0o755, chown, c.Timestamp); err != nil {
		return err
	}
	return chrootarchive.Untar(bytes.NewReader(data), dest, opts)
}
