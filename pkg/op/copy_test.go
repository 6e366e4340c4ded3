package op

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/tree"
)

// copyCase is one row of the tables below: what a copy of src over base adds to base.
type copyCase struct {
	name      string
	base, src string
	copy      *Copy
	want      string // the new layer
	err       string // part of the error instead
}

// dockerfileCopy is COPY as the Dockerfile frontend emits it, with the changes.
func dockerfileCopy(src, dest string, change ...func(*Copy)) *Copy {
	c := &Copy{
		Src: src, Dest: dest, Mode: -1,
		FollowSymlink: true, DirCopyContents: true, CreateDestPath: true,
		AllowWildcard: true, AllowEmptyWildcard: true,
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func noFollow(c *Copy)              { c.FollowSymlink = false }
func wholeDir(c *Copy)              { c.DirCopyContents = false }
func noCreate(c *Copy)              { c.CreateDestPath = false }
func noWildcard(c *Copy)            { c.AllowWildcard = false }
func noEmpty(c *Copy)               { c.AllowEmptyWildcard = false }
func replaceExisting(c *Copy)       { c.AlwaysReplaceExistingDestPaths = true }
func unpackArchives(c *Copy)        { c.AttemptUnpack = true }
func chmod(m int) func(*Copy)       { return func(c *Copy) { c.Mode = m } }
func symbolic(m string) func(*Copy) { return func(c *Copy) { c.ModeStr = m } }

func timestamp(sec int64) func(*Copy) {
	return func(c *Copy) { t := time.Unix(sec, 0); c.Timestamp = &t }
}

func include(p ...string) func(*Copy)  { return func(c *Copy) { c.Include = p } }
func exclude(p ...string) func(*Copy)  { return func(c *Copy) { c.Exclude = p } }
func required(p ...string) func(*Copy) { return func(c *Copy) { c.RequiredPaths = p } }

func chown(user, group *Principal) func(*Copy) {
	return func(c *Copy) { c.Owner = &Owner{User: user, Group: group} }
}

func byID(id uint32) *Principal                { return &Principal{ID: id} }
func byName(name string, input int) *Principal { return &Principal{Name: name, Input: input} }

// runCopy copies from the second of two inputs to the first.
func runCopy(t *testing.T, base, src *tree.Tree, c *Copy) (*tree.Tree, error) {
	t.Helper()
	f := &File{Actions: []FileAction{{Input: 0, Secondary: 1, Copy: c}}}
	out, err := f.Run(t.Context(), testEnv(t), []Input{input(base, 1), input(src, 2)})
	if err != nil {
		return nil, err
	}
	if len(out) != 1 || out[0].Parent() != base {
		t.Fatalf("the result is not one layer on the input")
	}
	return out[0], nil
}

func runCopyCases(t *testing.T, cases []copyCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := runCopy(t, specTree(t, c.base), specTree(t, c.src), c.copy)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error is %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkLines(t, lines(c.want), formatLayer(t, got.Top()))
			if _, err := got.View(t.Context()); err != nil {
				t.Errorf("the layer does not fit its base: %v", err)
			}
		})
	}
}

// context is a source that most rows copy from.
const buildContext = `
	f 644 0:0 10 a.txt A
	f 4755 7:8 11 b.sh B
	d 750 1:2 12 dir
	f 600 3:4 13 dir/c.txt C
	d 711 0:0 14 dir/sub
	f 644 0:0 15 dir/sub/d.txt D
	l 777 5:6 16 link a.txt
	l 777 0:0 17 linkdir dir`

func TestCopyDestination(t *testing.T) {
	runCopyCases(t, []copyCase{
		{
			name: "file to a new name", src: buildContext,
			copy: dockerfileCopy("/a.txt", "/new"),
			want: `f 644 0:0 10 new A`,
		}, {
			name: "file to a name without a leading slash", src: buildContext,
			copy: dockerfileCopy("a.txt", "new"),
			want: `f 644 0:0 10 new A`,
		}, {
			name: "file over a file", src: buildContext,
			base: `f 600 9:9 1 new old {user.x=1}`,
			copy: dockerfileCopy("/a.txt", "/new"),
			want: `f 644 0:0 10 new A`,
		}, {
			name: "file into a directory that a slash asks for", src: buildContext,
			copy: dockerfileCopy("/a.txt", "/new/"),
			want: `d 755 0:0 9999 new
				f 644 0:0 10 new/a.txt A`,
		}, {
			name: "file into a directory that a dot asks for", src: buildContext,
			copy: dockerfileCopy("/a.txt", "/new/."),
			want: `d 755 0:0 9999 new
				f 644 0:0 10 new/a.txt A`,
		}, {
			name: "file into an existing directory", src: buildContext,
			base: `d 700 9:9 1 opt`,
			copy: dockerfileCopy("/a.txt", "/opt"),
			want: `f 644 0:0 10 opt/a.txt A`,
		}, {
			name: "file to the root", src: buildContext,
			copy: dockerfileCopy("/a.txt", "/"),
			want: `f 644 0:0 10 a.txt A`,
		}, {
			name: "missing parents are made", src: buildContext,
			base: `d 700 9:9 1 opt`,
			copy: dockerfileCopy("/a.txt", "/opt/x/y/z"),
			want: `d 755 0:0 9999 opt/x
				d 755 0:0 9999 opt/x/y
				f 644 0:0 10 opt/x/y/z A`,
		}, {
			name: "missing parents are made like the copy, but without setuid bits", src: buildContext,
			copy: dockerfileCopy("/a.txt", "/opt/x/", chmod(0o6700), chown(byID(4), byID(5)), timestamp(77)),
			want: `d 700 4:5 77 opt
				d 700 4:5 77 opt/x
				f 6700 4:5 77 opt/x/a.txt A`,
		}, {
			name: "symbolic modes do not apply to missing parents", src: buildContext,
			copy: dockerfileCopy("/a.txt", "/opt/", symbolic("a=r")),
			want: `d 755 0:0 9999 opt
				f 444 0:0 10 opt/a.txt A`,
		}, {
			name: "parent is a file", src: buildContext,
			base: `f 644 0:0 1 opt x`,
			copy: dockerfileCopy("/a.txt", "/opt/x"),
			err:  "not a directory",
		}, {
			name: "slash after a file", src: buildContext,
			base: `f 644 0:0 1 opt x`,
			copy: dockerfileCopy("/a.txt", "/opt/"),
			err:  "mkdir /opt: not a directory",
		}, {
			name: "parents must exist", src: buildContext,
			copy: dockerfileCopy("/a.txt", "/opt/x", noCreate),
			err:  "failed to stat /opt/x",
		}, {
			name: "parents do exist", src: buildContext,
			base: `d 755 0:0 1 opt`,
			copy: dockerfileCopy("/a.txt", "/opt/x", noCreate),
			want: `f 644 0:0 10 opt/x A`,
		}, {
			name: "destination climbs", src: buildContext,
			base: `d 755 0:0 1 opt`,
			copy: dockerfileCopy("/a.txt", "/opt/../../../x"),
			want: `f 644 0:0 10 x A`,
		}, {
			name: "new directories get the group of a setgid parent", src: buildContext,
			base: `d 2775 1:50 1 opt`,
			copy: dockerfileCopy("/a.txt", "/opt/x/"),
			want: `d 755 0:50 9999 opt/x
				f 644 0:0 10 opt/x/a.txt A`,
		},
	})
}

func TestCopyDestinationLinks(t *testing.T) {
	runCopyCases(t, []copyCase{
		{
			name: "link to a directory is followed", src: buildContext,
			base: `d 755 0:0 1 real
				l 777 0:0 1 opt real`,
			copy: dockerfileCopy("/a.txt", "/opt/"),
			want: `f 644 0:0 10 real/a.txt A`,
		}, {
			name: "absolute link stays inside", src: buildContext,
			base: `d 755 0:0 1 real
				l 777 0:0 1 opt /real`,
			copy: dockerfileCopy("/dir", "/opt"),
			want: `d 755 0:0 12 real
				f 600 3:4 13 real/c.txt C
				d 711 0:0 14 real/sub
				f 644 0:0 15 real/sub/d.txt D`,
		}, {
			name: "climbing link stays inside", src: buildContext,
			base: `d 755 0:0 1 real
				l 777 0:0 1 real/up ../../../../real`,
			copy: dockerfileCopy("/a.txt", "/real/up/"),
			want: `f 644 0:0 10 real/a.txt A`,
		}, {
			name: "link to nowhere is made", src: buildContext,
			base: `l 777 0:0 1 opt real/deep`,
			copy: dockerfileCopy("/a.txt", "/opt/"),
			want: `d 755 0:0 9999 real
				d 755 0:0 9999 real/deep
				f 644 0:0 10 real/deep/a.txt A`,
		}, {
			name: "link to a file: the file is replaced", src: buildContext,
			base: `f 600 0:0 1 real old
				l 777 0:0 1 new real`,
			copy: dockerfileCopy("/a.txt", "/new"),
			want: `f 644 0:0 10 real A`,
		}, {
			name: "link in a directory that is copied into is replaced", src: buildContext,
			base: `f 600 0:0 1 real old
				d 755 0:0 1 opt
				l 777 0:0 1 opt/a.txt ../real`,
			copy: dockerfileCopy("/a.txt", "/opt/"),
			want: `f 644 0:0 10 opt/a.txt A`,
		}, {
			name: "links in a circle", src: buildContext,
			base: `l 777 0:0 1 x y
				l 777 0:0 1 y x`,
			copy: dockerfileCopy("/a.txt", "/x/"),
			err:  "too many levels of symbolic links",
		}, {
			name: "dots of a link are cleaned before what they follow is looked at", src: buildContext,
			base: `d 755 0:0 1 deep
				d 755 0:0 1 deep/er
				l 777 0:0 1 in deep/er
				l 777 0:0 1 opt in/../new`,
			copy: dockerfileCopy("/a.txt", "/opt"),
			want: `f 644 0:0 10 new A`,
		},
	})
}

func TestCopyDirectories(t *testing.T) {
	const contents = `
		f 600 3:4 13 new/c.txt C
		d 711 0:0 14 new/sub
		f 644 0:0 15 new/sub/d.txt D`
	runCopyCases(t, []copyCase{
		{
			// The frontend's COPY makes the destination first, so that the source's
			// own metadata is not taken but for its time.
			name: "contents to a new directory", src: buildContext,
			copy: dockerfileCopy("/dir", "/new"),
			want: `d 755 0:0 12 new` + contents,
		}, {
			name: "contents to a new directory with a slash", src: buildContext,
			copy: dockerfileCopy("/dir/", "/new/"),
			want: `d 755 0:0 12 new` + contents,
		}, {
			name: "directory to a new name", src: buildContext,
			copy: dockerfileCopy("/dir", "/new", wholeDir),
			want: `d 750 1:2 12 new` + contents,
		}, {
			name: "directory into an existing one", src: buildContext,
			base: `d 755 0:0 1 opt`,
			copy: dockerfileCopy("/dir/sub", "/opt", wholeDir),
			want: `d 711 0:0 14 opt/sub
				f 644 0:0 15 opt/sub/d.txt D`,
		}, {
			name: "everything", src: `
				f 644 0:0 10 a A
				d 700 1:1 11 d
				p 600 1:1 12 d/pipe
				c 660 0:5 13 d/null 1,3
				b 660 0:6 14 d/sda 8,0
				l 777 1:1 15 d/dangling /no/where`,
			copy: dockerfileCopy("/", "/"),
			want: `f 644 0:0 10 a A
				d 700 1:1 11 d
				l 777 1:1 15 d/dangling /no/where
				c 660 0:5 13 d/null 1,3
				p 600 1:1 12 d/pipe
				b 660 0:6 14 d/sda 8,0`,
		}, {
			name: "merging: topmost keeps its metadata, others take the source's", src: buildContext,
			base: `d 700 9:9 1 new
				d 700 9:9 1 new/sub {user.old=1}
				f 644 9:9 1 new/sub/kept K`,
			copy: dockerfileCopy("/dir", "/new"),
			want: `d 700 9:9 12 new
				f 600 3:4 13 new/c.txt C
				d 711 0:0 14 new/sub {user.old=1}
				f 644 0:0 15 new/sub/d.txt D`,
		}, {
			name: "merging: attributes add up", src: `
				d 755 0:0 5 d
				d 755 0:0 5 d/s {user.new=2,user.same=3}`,
			base: `d 755 0:0 1 new
				d 755 0:0 1 new/s {user.old=1,user.same=1}`,
			copy: dockerfileCopy("/d", "/new"),
			want: `d 755 0:0 5 new
				d 755 0:0 5 new/s {user.new=2,user.old=1,user.same=3}`,
		}, {
			name: "merging an empty directory changes nothing",
			src:  `d 711 3:3 5 d`,
			base: `d 755 0:0 1 new
				f 644 0:0 1 new/f F`,
			copy: dockerfileCopy("/d", "/new"),
			want: ``,
		}, {
			name: "merging with owner, mode and time", src: buildContext,
			base: `d 700 9:9 1 new`,
			copy: dockerfileCopy("/dir", "/new", chown(byID(4), nil), chmod(0o2750), timestamp(77)),
			want: `d 700 9:9 77 new
				f 2750 4:4 77 new/c.txt C
				d 2750 4:4 77 new/sub
				f 2750 4:4 77 new/sub/d.txt D`,
		}, {
			name: "directory over a file", src: buildContext,
			base: `f 644 0:0 1 new x`,
			copy: dockerfileCopy("/dir", "/new"),
			err:  "cannot copy to non-directory: /new",
		}, {
			name: "directory over a file below", src: buildContext,
			base: `d 755 0:0 1 new
				f 644 0:0 1 new/sub x`,
			copy: dockerfileCopy("/dir", "/new"),
			err:  "cannot copy to non-directory: /new/sub",
		}, {
			name: "directory over a link to a directory below", src: buildContext,
			base: `d 755 0:0 1 real
				d 755 0:0 1 new
				l 777 0:0 1 new/sub ../real`,
			copy: dockerfileCopy("/dir", "/new"),
			err:  "cannot copy to non-directory: /new/sub",
		}, {
			name: "file over a directory below", src: buildContext,
			base: `d 755 0:0 1 new
				d 755 0:0 1 new/c.txt`,
			copy: dockerfileCopy("/dir", "/new"),
			err:  "cannot replace to directory /new/c.txt with file",
		}, {
			name: "whole directory over a file", src: buildContext,
			base: `f 644 0:0 1 new x`,
			copy: dockerfileCopy("/dir", "/new", wholeDir),
			err:  "not a directory",
		}, {
			name: "unlisted source directory",
			src:  `f 644 0:0 5 d/e/f F`,
			copy: dockerfileCopy("/d", "/new", wholeDir),
			want: `d 755 0:0 9999 new
				d 755 0:0 9999 new/e
				f 644 0:0 5 new/e/f F`,
		}, {
			name: "opaque source directory is not opaque in the copy",
			src: `o 755 0:0 5 d/o
				f 644 0:0 5 d/o/f F`,
			base: `d 755 0:0 1 new
				d 755 0:0 1 new/o
				f 644 0:0 1 new/o/kept K`,
			copy: dockerfileCopy("/d", "/new"),
			want: `d 755 0:0 9999 new
				d 755 0:0 5 new/o
				f 644 0:0 5 new/o/f F`,
		},
	})
}

func TestCopyReplace(t *testing.T) {
	runCopyCases(t, []copyCase{
		{
			name: "directory replaces a file", src: buildContext,
			base: `d 755 0:0 1 new
				f 644 0:0 1 new/sub x`,
			copy: dockerfileCopy("/dir", "/new", replaceExisting),
			want: `d 755 0:0 12 new
				f 600 3:4 13 new/c.txt C
				d 711 0:0 14 new/sub
				f 644 0:0 15 new/sub/d.txt D`,
		}, {
			name: "directory replaces a link", src: buildContext,
			base: `d 755 0:0 1 real
				d 755 0:0 1 new
				l 777 0:0 1 new/sub ../real`,
			copy: dockerfileCopy("/dir", "/new", replaceExisting),
			want: `d 755 0:0 12 new
				f 600 3:4 13 new/c.txt C
				d 711 0:0 14 new/sub
				f 644 0:0 15 new/sub/d.txt D`,
		}, {
			name: "file replaces a directory", src: buildContext,
			base: `d 755 0:0 1 new
				d 755 0:0 1 new/a.txt
				f 644 0:0 1 new/a.txt/x X`,
			copy: dockerfileCopy("/a.txt", "/new", replaceExisting),
			want: `f 644 0:0 10 new/a.txt A`,
		}, {
			name: "directories still merge", src: buildContext,
			base: `d 755 0:0 1 new
				d 755 0:0 1 new/sub
				f 644 0:0 1 new/sub/kept K`,
			copy: dockerfileCopy("/dir", "/new", replaceExisting, include("sub")),
			want: `d 755 0:0 12 new
				d 711 0:0 14 new/sub
				f 644 0:0 15 new/sub/d.txt D`,
		}, {
			name: "a file does not replace the root", src: buildContext,
			copy: dockerfileCopy("/a.txt/.", "/", replaceExisting, noWildcard),
			err:  "cannot replace to directory / with file",
		}, {
			name: "not for what a pattern leaves out", src: buildContext,
			base: `d 755 0:0 1 new
				f 644 0:0 1 new/sub x`,
			copy: dockerfileCopy("/dir", "/new", replaceExisting, include("sub/d.txt")),
			err:  "cannot copy to non-directory: /new/sub",
		},
	})
}

func TestCopySourceLinks(t *testing.T) {
	runCopyCases(t, []copyCase{
		{
			name: "link is followed", src: buildContext,
			copy: dockerfileCopy("/link", "/new"),
			want: `f 644 0:0 10 new A`,
		}, {
			name: "link keeps its name in a directory", src: buildContext,
			copy: dockerfileCopy("/link", "/new/"),
			want: `d 755 0:0 9999 new
				f 644 0:0 10 new/link A`,
		}, {
			name: "link is copied", src: buildContext,
			copy: dockerfileCopy("/link", "/new", noFollow),
			want: `l 777 5:6 16 new a.txt`,
		}, {
			name: "link gets owner and time, but no mode", src: buildContext,
			copy: dockerfileCopy("/link", "/new", noFollow, chown(byID(1), byID(2)), chmod(0o600), timestamp(77)),
			want: `l 777 1:2 77 new a.txt`,
		}, {
			name: "link to a directory is followed", src: buildContext,
			copy: dockerfileCopy("/linkdir", "/new", exclude("sub")),
			want: `d 755 0:0 12 new
				f 600 3:4 13 new/c.txt C`,
		}, {
			name: "links on the way are always followed", src: buildContext,
			copy: dockerfileCopy("/linkdir/c.txt", "/new", noFollow),
			want: `f 600 3:4 13 new C`,
		}, {
			name: "links below are never followed", src: buildContext,
			copy: dockerfileCopy("/", "/", include("link*")),
			want: `l 777 5:6 16 link a.txt
				l 777 0:0 17 linkdir dir`,
		}, {
			name: "climbing source",
			src: `f 644 0:0 5 f F
				d 755 0:0 5 d
				l 777 0:0 5 d/out ../../../../f`,
			copy: dockerfileCopy("../../d/out", "/new"),
			want: `f 644 0:0 5 new F`,
		}, {
			name: "link to nowhere",
			src:  `l 777 0:0 5 l gone`,
			copy: dockerfileCopy("/l", "/new"),
			err:  `"/l": not found`,
		}, {
			name: "link to nowhere is copied",
			src:  `l 777 0:0 5 l gone`,
			copy: dockerfileCopy("/l", "/new", noFollow),
			want: `l 777 0:0 5 new gone`,
		},
	})
}

func TestCopyWildcards(t *testing.T) {
	runCopyCases(t, []copyCase{
		{
			name: "star", src: buildContext,
			copy: dockerfileCopy("/*.txt", "/new/"),
			want: `d 755 0:0 9999 new
				f 644 0:0 10 new/a.txt A`,
		}, {
			name: "directories' contents are copied", src: buildContext,
			copy: dockerfileCopy("/d*", "/new/"),
			want: `d 755 0:0 12 new
				f 600 3:4 13 new/c.txt C
				d 711 0:0 14 new/sub
				f 644 0:0 15 new/sub/d.txt D`,
		}, {
			name: "directories are copied", src: buildContext,
			copy: dockerfileCopy("/d*", "/new/", wholeDir),
			want: `d 755 0:0 9999 new
				d 750 1:2 12 new/dir
				f 600 3:4 13 new/dir/c.txt C
				d 711 0:0 14 new/dir/sub
				f 644 0:0 15 new/dir/sub/d.txt D`,
		}, {
			name: "star does not match a slash", src: buildContext,
			copy: dockerfileCopy("/dir/*.txt", "/new/"),
			want: `d 755 0:0 9999 new
				f 600 3:4 13 new/c.txt C`,
		}, {
			name: "in the middle", src: buildContext,
			copy: dockerfileCopy("/*/sub/?.txt", "/new/"),
			want: `d 755 0:0 9999 new
				f 644 0:0 15 new/d.txt D`,
		}, {
			name: "after a link", src: buildContext,
			copy: dockerfileCopy("/linkdir/*.txt", "/new/"),
			want: `d 755 0:0 9999 new
				f 600 3:4 13 new/c.txt C`,
		}, {
			name: "classes", src: buildContext,
			copy: dockerfileCopy("/[ab].*", "/new/"),
			want: `d 755 0:0 9999 new
				f 644 0:0 10 new/a.txt A
				f 4755 7:8 11 new/b.sh B`,
		}, {
			name: "a negated class matches a slash, as in BuildKit", src: buildContext,
			copy: dockerfileCopy("/dir[^x]c.txt", "/new/"),
			want: `d 755 0:0 9999 new
				f 600 3:4 13 new/c.txt C`,
		}, {
			name: "escaped",
			src: `f 644 0:0 5 a* S
				f 644 0:0 5 ab B`,
			copy: dockerfileCopy(`/a\*`, "/new/"),
			err:  `"/a\\*": not found`,
		}, {
			name: "escaped beside a wildcard",
			src: `f 644 0:0 5 a*c S
				f 644 0:0 5 abc B`,
			copy: dockerfileCopy(`/a\*?`, "/new/"),
			want: `d 755 0:0 9999 new
				f 644 0:0 5 new/a*c S`,
		}, {
			name: "later matches overwrite",
			src: `f 644 0:0 5 x/f 1
				f 644 0:0 6 y/f 2`,
			copy: dockerfileCopy("/*/f", "/new/"),
			want: `d 755 0:0 9999 new
				f 644 0:0 6 new/f 2`,
		}, {
			name: "no match is allowed", src: buildContext,
			copy: dockerfileCopy("/*.jpg", "/new/"),
			want: ``,
		}, {
			name: "no match is not allowed", src: buildContext,
			copy: dockerfileCopy("/*.jpg", "/new/", noEmpty),
			err:  `"/*.jpg": not found`,
		}, {
			name: "malformed pattern matches nothing", src: buildContext,
			copy: dockerfileCopy("/a[.txt", "/new/"),
			want: ``,
		}, {
			name: "no such directory before the wildcard", src: buildContext,
			copy: dockerfileCopy("/nodir/*.txt", "/new/"),
			err:  `"/nodir": not found`,
		}, {
			name: "wildcards are not allowed",
			src:  `f 644 0:0 5 * S`,
			copy: dockerfileCopy("/*", "/new", noWildcard),
			want: `f 644 0:0 5 new S`,
		}, {
			name: "missing source", src: buildContext,
			copy: dockerfileCopy("/x", "/new"),
			err:  `"/x": not found`,
		}, {
			name: "missing source without wildcards", src: buildContext,
			copy: dockerfileCopy("x/y", "/new", noWildcard),
			err:  `"/x/y": not found`,
		}, {
			name: "source below a file", src: buildContext,
			copy: dockerfileCopy("/a.txt/x", "/new"),
			err:  `not a directory`,
		},
	})
}

func TestCopyPatterns(t *testing.T) {
	const src = `
		d 700 1:1 5 a
		d 701 1:1 6 a/b
		f 644 0:0 7 a/b/c.go C
		f 644 0:0 8 a/b/c.md M
		d 702 1:1 9 a/empty
		f 644 0:0 7 main.go G
		d 703 1:1 5 vendor
		f 644 0:0 7 vendor/v.go V`
	runCopyCases(t, []copyCase{
		{
			name: "include a file: its parents come with it", src: src,
			copy: dockerfileCopy("/", "/new/", include("a/b/c.go")),
			want: `d 755 0:0 9999 new
				d 700 1:1 5 new/a
				d 701 1:1 6 new/a/b
				f 644 0:0 7 new/a/b/c.go C`,
		}, {
			name: "include a directory: everything below comes with it", src: src,
			copy: dockerfileCopy("/", "/new/", include("a/b")),
			want: `d 755 0:0 9999 new
				d 700 1:1 5 new/a
				d 701 1:1 6 new/a/b
				f 644 0:0 7 new/a/b/c.go C
				f 644 0:0 8 new/a/b/c.md M`,
		}, {
			name: "include an empty directory", src: src,
			copy: dockerfileCopy("/", "/new/", include("a/e*")),
			want: `d 755 0:0 9999 new
				d 700 1:1 5 new/a
				d 702 1:1 9 new/a/empty`,
		}, {
			name: "double star", src: src,
			copy: dockerfileCopy("/", "/new/", include("**/*.md")),
			want: `d 755 0:0 9999 new
				d 700 1:1 5 new/a
				d 701 1:1 6 new/a/b
				f 644 0:0 8 new/a/b/c.md M`,
		}, {
			name: "a directory of which nothing is included is not made", src: src,
			copy: dockerfileCopy("/", "/new/", include("main.go")),
			want: `d 755 0:0 9999 new
				f 644 0:0 7 new/main.go G`,
		}, {
			name: "existing parents get the source's mode alone", src: src,
			base: `d 755 9:9 1 new
				d 755 9:9 1 new/a`,
			copy: dockerfileCopy("/", "/new/", include("a/b/c.go"), timestamp(77)),
			want: `d 755 9:9 77 new
				d 700 9:9 1 new/a
				d 701 1:1 77 new/a/b
				f 644 0:0 77 new/a/b/c.go C`,
		}, {
			name: "exclude a file", src: src,
			copy: dockerfileCopy("/a", "/new/", exclude("b/*.md")),
			want: `d 755 0:0 5 new
				d 701 1:1 6 new/b
				f 644 0:0 7 new/b/c.go C
				d 702 1:1 9 new/empty`,
		}, {
			name: "exclude a directory", src: src,
			copy: dockerfileCopy("/", "/new/", exclude("a", "vendor")),
			want: `d 755 0:0 9999 new
				f 644 0:0 7 new/main.go G`,
		}, {
			name: "an exception brings back a file with its parents", src: src,
			copy: dockerfileCopy("/", "/new/", exclude("a", "vendor", "!a/b/c.go")),
			want: `d 755 0:0 9999 new
				d 700 1:1 5 new/a
				d 701 1:1 6 new/a/b
				f 644 0:0 7 new/a/b/c.go C
				f 644 0:0 7 new/main.go G`,
		}, {
			name: "exclude wins over include", src: src,
			copy: dockerfileCopy("/", "/new/", include("**/*.go"), exclude("vendor")),
			want: `d 755 0:0 9999 new
				d 700 1:1 5 new/a
				d 701 1:1 6 new/a/b
				f 644 0:0 7 new/a/b/c.go C
				f 644 0:0 7 new/main.go G`,
		}, {
			name: "patterns do not apply to the source itself", src: src,
			copy: dockerfileCopy("/main.go", "/new/", exclude("main.go")),
			want: `d 755 0:0 9999 new
				f 644 0:0 7 new/main.go G`,
		}, {
			name: "required path is there", src: src,
			copy: dockerfileCopy("/", "/new/", include("main.go"), required("/main.go")),
			want: `d 755 0:0 9999 new
				f 644 0:0 7 new/main.go G`,
		}, {
			name: "required path is missing", src: src,
			copy: dockerfileCopy("/", "/new/", include("nothing"), required("/nothing")),
			err:  `"/nothing": not found`,
		}, {
			name: "required path below a source", src: src,
			copy: dockerfileCopy("/a", "/new/", include("b/c.go"), required("/a/b/c.go")),
			want: `d 755 0:0 5 new
				d 701 1:1 6 new/b
				f 644 0:0 7 new/b/c.go C`,
		}, {
			name: "required path is excluded", src: src,
			copy: dockerfileCopy("/", "/new/", include("main.go"), exclude("*.go"), required("/main.go")),
			err:  `"/main.go": not found`,
		}, {
			name: "malformed pattern", src: src,
			copy: dockerfileCopy("/", "/new/", include("a[")),
			err:  "invalid include patterns",
		},
	})
}

func TestCopyModes(t *testing.T) {
	const src = `
		d 750 0:0 5 d
		f 644 0:0 5 d/plain P
		f 4755 0:0 5 d/suid S {security.capability=caps}
		d 1777 0:0 5 d/tmp`
	runCopyCases(t, []copyCase{
		{
			name: "everything is kept", src: src,
			copy: dockerfileCopy("/d", "/new", wholeDir),
			want: `d 750 0:0 5 new
				f 644 0:0 5 new/plain P
				f 4755 0:0 5 new/suid S {security.capability=caps}
				d 1777 0:0 5 new/tmp`,
		}, {
			name: "kept with another owner", src: src,
			copy: dockerfileCopy("/d/suid", "/new", chown(byID(1), nil)),
			want: `f 4755 1:1 5 new S {security.capability=caps}`,
		}, {
			name: "octal", src: src,
			copy: dockerfileCopy("/d", "/new", wholeDir, chmod(0o640)),
			want: `d 640 0:0 5 new
				f 640 0:0 5 new/plain P
				f 640 0:0 5 new/suid S {security.capability=caps}
				d 640 0:0 5 new/tmp`,
		}, {
			name: "octal with all bits", src: src,
			copy: dockerfileCopy("/d/plain", "/new", chmod(0o7711)),
			want: `f 7711 0:0 5 new P`,
		}, {
			name: "octal zero", src: src,
			copy: dockerfileCopy("/d/plain", "/new", chmod(0)),
			want: `f 0 0:0 5 new P`,
		}, {
			name: "symbolic", src: src,
			copy: dockerfileCopy("/d", "/new", wholeDir, symbolic("u=rwX,go=rX")),
			want: `d 755 0:0 5 new
				f 644 0:0 5 new/plain P
				f 755 0:0 5 new/suid S {security.capability=caps}
				d 1755 0:0 5 new/tmp`,
		}, {
			name: "symbolic, added bits", src: src,
			copy: dockerfileCopy("/d/plain", "/new", symbolic("u+s,g+x,o-r")),
			want: `f 4650 0:0 5 new P`,
		}, {
			name: "symbolic wins over octal", src: src,
			copy: dockerfileCopy("/d/plain", "/new", chmod(0o600), symbolic("a+x")),
			want: `f 755 0:0 5 new P`,
		}, {
			name: "malformed", src: src,
			copy: dockerfileCopy("/d/plain", "/new", symbolic("u=q")),
			err:  `mode "u=q"`,
		},
	})
}

func TestCopyOwners(t *testing.T) {
	const src = `f 644 3:4 5 f F`
	const base = `
		f 644 0:0 1 etc/passwd root:x:0:0::/root:/bin/sh
		f 644 0:0 1 etc/group root:x:0:`
	const users = `
		l 777 0:0 1 etc/passwd ../lib/passwd
		f 644 0:0 1 lib/passwd app:x:100:101::/:/bin/sh
		f 644 0:0 1 etc/group web:x:102:app`
	runCopyCases(t, []copyCase{
		{
			name: "kept", src: src,
			copy: dockerfileCopy("/f", "/new"),
			want: `f 644 3:4 5 new F`,
		}, {
			name: "user by number brings the group of that number", src: src,
			copy: dockerfileCopy("/f", "/new", chown(byID(7), nil)),
			want: `f 644 7:7 5 new F`,
		}, {
			name: "user and group by number", src: src,
			copy: dockerfileCopy("/f", "/new", chown(byID(7), byID(8))),
			want: `f 644 7:8 5 new F`,
		}, {
			name: "group alone", src: src,
			copy: dockerfileCopy("/f", "/new", chown(nil, byID(8))),
			want: `f 644 0:8 5 new F`,
		}, {
			name: "neither is root", src: src,
			copy: dockerfileCopy("/f", "/new", chown(nil, nil)),
			want: `f 644 0:0 5 new F`,
		}, {
			name: "user by name brings its group", src: src, base: users,
			copy: dockerfileCopy("/f", "/new", chown(byName("app", 0), nil)),
			want: `f 644 100:101 5 new F`,
		}, {
			name: "user and group by name", src: src, base: users,
			copy: dockerfileCopy("/f", "/new", chown(byName("app", 0), byName("web", 0))),
			want: `f 644 100:102 5 new F`,
		}, {
			name: "user by name, group by number", src: src, base: users,
			copy: dockerfileCopy("/f", "/new", chown(byName("app", 0), byID(5))),
			want: `f 644 100:5 5 new F`,
		}, {
			name: "names of the input that is asked for", src: src + users, base: base,
			copy: dockerfileCopy("/f", "/new", chown(byName("app", 1), byName("web", 1))),
			want: `f 644 100:102 5 new F`,
		}, {
			name: "an unknown user is root, as in BuildKit", src: src, base: users,
			copy: dockerfileCopy("/f", "/new", chown(byName("nobody", 0), nil)),
			want: `f 644 0:0 5 new F`,
		}, {
			name: "an unknown group changes nothing", src: src, base: users,
			copy: dockerfileCopy("/f", "/new", chown(byName("app", 0), byName("none", 0))),
			want: `f 644 100:101 5 new F`,
		}, {
			name: "no passwd", src: src,
			copy: dockerfileCopy("/f", "/new", chown(byName("app", 0), byName("web", 0))),
			want: `f 644 0:0 5 new F`,
		}, {
			name: "etc is a file", src: src, base: `f 644 0:0 1 etc x`,
			copy: dockerfileCopy("/f", "/new", chown(byName("app", 0), nil)),
			want: `f 644 0:0 5 new F`,
		}, {
			name: "passwd is a directory", src: src, base: `d 755 0:0 1 etc/passwd`,
			copy: dockerfileCopy("/f", "/new", chown(byName("app", 0), nil)),
			err:  `look up user "app": /etc/passwd is not a regular file`,
		}, {
			name: "input out of range", src: src,
			copy: dockerfileCopy("/f", "/new", chown(byName("app", 9), nil)),
			err:  "invalid user index 9",
		},
	})
}

func TestCopyHardLinks(t *testing.T) {
	const src = `
		d 755 0:0 5 d
		f 644 0:0 5 d/one X
		h 644 0:0 5 d/sub/two d/one
		h 644 0:0 5 out d/one`
	runCopyCases(t, []copyCase{
		{
			name: "kept inside one copy", src: src,
			copy: dockerfileCopy("/d", "/new"),
			want: `d 755 0:0 5 new
				f 644 0:0 5 new/one X
				d 755 0:0 9999 new/sub
				h 644 0:0 5 new/sub/two new/one`,
		}, {
			name: "with changed metadata", src: src,
			copy: dockerfileCopy("/d", "/new", chown(byID(1), nil), chmod(0o600), timestamp(77)),
			want: `d 600 1:1 77 new
				f 600 1:1 77 new/one X
				d 600 1:1 77 new/sub
				h 600 1:1 77 new/sub/two new/one`,
		}, {
			name: "one of them alone is a file", src: src,
			copy: dockerfileCopy("/d/sub/two", "/new"),
			want: `f 644 0:0 5 new X`,
		}, {
			name: "not between the matches of a wildcard", src: src,
			copy: dockerfileCopy("/*", "/new/"),
			want: `d 755 0:0 5 new
				f 644 0:0 5 new/one X
				f 644 0:0 5 new/out X
				d 755 0:0 9999 new/sub
				h 644 0:0 5 new/sub/two new/one`,
		}, {
			name: "replacing one name of the destination leaves the other", src: `f 644 0:0 9 a NEW`,
			base: `f 644 0:0 1 a OLD
				h 644 0:0 1 b a`,
			copy: dockerfileCopy("/a", "/"),
			want: `f 644 0:0 9 a NEW`,
		}, {
			name: "equal files that were not linked are written",
			src: `f 644 0:0 5 x/a X
				h 644 0:0 5 x/b x/a`,
			base: `f 644 0:0 5 x/a X
				f 644 0:0 5 x/b X`,
			copy: dockerfileCopy("/", "/"),
			want: `d 755 0:0 9999 x
				f 644 0:0 5 x/a X
				h 644 0:0 5 x/b x/a`,
		},
	})
}

func TestCopyUnchanged(t *testing.T) {
	runCopyCases(t, []copyCase{
		{
			name: "an equal file is not listed", src: `f 644 0:0 5 a A`,
			base: `f 644 0:0 5 a A`,
			copy: dockerfileCopy("/a", "/"),
			want: ``,
		}, {
			name: "another time is a change", src: `f 644 0:0 6 a A`,
			base: `f 644 0:0 5 a A`,
			copy: dockerfileCopy("/a", "/"),
			want: `f 644 0:0 6 a A`,
		}, {
			name: "other content of the same size is a change", src: `f 644 0:0 5 d/a A`,
			base: `d 755 0:0 1 d
				f 644 0:0 5 d/a B`,
			copy: dockerfileCopy("/", "/"),
			want: `d 755 0:0 9999 d
				f 644 0:0 5 d/a A`,
		}, {
			name: "other attributes are a change", src: `f 644 0:0 5 a A {user.x=1}`,
			base: `f 644 0:0 5 a A {user.x=2}`,
			copy: dockerfileCopy("/a", "/"),
			want: `f 644 0:0 5 a A {user.x=1}`,
		}, {
			name: "equal files in a directory with another time", src: `
				d 755 0:0 9 d
				f 644 0:0 5 d/a A
				l 777 0:0 5 d/l a`,
			base: `d 755 0:0 1 d
				f 644 0:0 5 d/a A
				l 777 0:0 5 d/l a`,
			copy: dockerfileCopy("/d", "/d"),
			want: ``,
		}, {
			name: "one new file in it", src: `
				d 755 0:0 9 d
				f 644 0:0 5 d/a A
				f 644 0:0 5 d/b B`,
			base: `d 755 0:0 1 d
				f 644 0:0 5 d/a A`,
			copy: dockerfileCopy("/d", "/d"),
			want: `d 755 0:0 9 d
				f 644 0:0 5 d/b B`,
		},
	})
}

func TestCopyNotFound(t *testing.T) {
	_, err := runCopy(t, nil, specTree(t, buildContext), dockerfileCopy("/x", "/y"))
	var missing *NotFoundError
	if !errors.As(err, &missing) || missing.Path != "/x" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %#v", err)
	}
}
