package op

import (
	"strings"
	"testing"
	"time"
)

// actionCase is one row of the tables below: what actions on base add to it. The actions run
// one after the other, unless they say otherwise.
type actionCase struct {
	name    string
	base    string
	src     string // a second input
	actions []FileAction
	want    string
	err     string
}

// chained lets each action start from the one before, the first from input 0 of two.
func chained(actions ...FileAction) []FileAction {
	for i := range actions {
		a := &actions[i]
		a.Input, a.Output = i+1, -1
		if i == 0 {
			a.Input = 0
		}
		a.Secondary = -1
		if a.Copy != nil {
			a.Secondary = 1
		}
	}
	actions[len(actions)-1].Output = 0
	return actions
}

func runActionCases(t *testing.T, cases []actionCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			base := specTree(t, c.base)
			in := []Input{input(base, 1), input(specTree(t, c.src), 2)}
			out, err := (&File{Actions: c.actions}).Run(t.Context(), testEnv(t), in)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error is %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkLines(t, lines(c.want), formatLayer(t, out[0].Top()))
			if _, err := out[0].View(t.Context()); err != nil {
				t.Errorf("the layer does not fit its base: %v", err)
			}
		})
	}
}

func at(sec int64) *time.Time { t := time.Unix(sec, 0); return &t }

func mkdir(p string, parents bool, change ...func(*Mkdir)) FileAction {
	m := &Mkdir{Path: p, Mode: 0o755, MakeParents: parents}
	for _, f := range change {
		f(m)
	}
	return FileAction{Mkdir: m}
}

func TestMkdir(t *testing.T) {
	owned := func(m *Mkdir) { m.Owner, m.Mode, m.Timestamp = &Owner{User: byID(5)}, 0o7700, at(77) }
	runActionCases(t, []actionCase{
		{
			name:    "one",
			actions: chained(mkdir("/a", false)),
			want:    `d 755 0:0 9999 a`,
		}, {
			name:    "with parents, owner, mode and time: all alike",
			actions: chained(mkdir("/a/b/c", true, owned)),
			want: `d 700 5:5 77 a
				d 700 5:5 77 a/b
				d 700 5:5 77 a/b/c`,
		}, {
			name:    "one with owner, mode and time",
			actions: chained(mkdir("a", false, owned)),
			want:    `d 700 5:5 77 a`,
		}, {
			name: "owner by name",
			base: `f 644 0:0 1 etc/passwd app:x:100:101::/:/bin/sh`,
			actions: chained(mkdir("/a", true, func(m *Mkdir) {
				m.Owner = &Owner{User: byName("app", 0)}
			})),
			want: `d 755 100:101 9999 a`,
		}, {
			name: "an existing one is left alone", base: `d 700 9:9 1 a`,
			actions: chained(mkdir("/a", true, owned), mkdir("/a", false, owned)),
			want:    ``,
		}, {
			name: "existing parents are left alone", base: `d 700 9:9 1 a`,
			actions: chained(mkdir("/a/b", true)),
			want:    `d 755 0:0 9999 a/b`,
		}, {
			name:    "parent is missing",
			actions: chained(mkdir("/a/b", false)),
			err:     "mkdir /a/b: no such file or directory",
		}, {
			name: "a file is there", base: `f 644 0:0 1 a x`,
			actions: chained(mkdir("/a", true)),
			err:     "mkdir /a: not a directory",
		}, {
			name: "a file is there, without parents: BuildKit does not mind", base: `f 644 0:0 1 a x`,
			actions: chained(mkdir("/a", false)),
			want:    ``,
		}, {
			name: "a file is above", base: `f 644 0:0 1 a x`,
			actions: chained(mkdir("/a/b", true)),
			err:     "not a directory",
		}, {
			name: "the root", actions: chained(mkdir("/", true, owned), mkdir("/", false, owned)),
			want: ``,
		}, {
			name: "climbing", actions: chained(mkdir("/../../a", true)),
			want: `d 755 0:0 9999 a`,
		}, {
			name: "links are followed", base: `
				d 755 0:0 1 real
				l 777 0:0 1 a /real
				l 777 0:0 1 real/b ../../../c`,
			actions: chained(mkdir("/a/b/d", true)),
			want: `d 755 0:0 9999 c
				d 755 0:0 9999 c/d`,
		}, {
			name: "below a setgid directory", base: `d 2755 1:50 1 a`,
			actions: chained(mkdir("/a/b", false), mkdir("/a/c/d", true)),
			want: `d 2755 0:50 9999 a/b
				d 755 0:50 9999 a/c
				d 755 0:0 9999 a/c/d`,
		},
	})
}

func mkfile(p, data string, change ...func(*Mkfile)) FileAction {
	m := &Mkfile{Path: p, Mode: 0o644, Data: []byte(data)}
	for _, f := range change {
		f(m)
	}
	return FileAction{Mkfile: m}
}

func TestMkfile(t *testing.T) {
	runActionCases(t, []actionCase{
		{
			name:    "new",
			actions: chained(mkfile("/a", "A")),
			want:    `f 644 0:0 9999 a A`,
		}, {
			name: "with owner, mode and time",
			actions: chained(mkfile("a", "A", func(m *Mkfile) {
				m.Owner, m.Mode, m.Timestamp = &Owner{User: byID(5), Group: byID(6)}, 0o4711, at(77)
			})),
			want: `f 711 5:6 77 a A`,
		}, {
			name:    "empty",
			actions: chained(mkfile("/a", "")),
			want:    `f 644 0:0 9999 a`,
		}, {
			name: "overwrites", base: `f 4755 9:9 1 a old {user.x=1}`,
			actions: chained(mkfile("/a", "A")),
			want:    `f 644 0:0 9999 a A`,
		}, {
			name: "overwrites one name of a hard link", base: `
				f 644 0:0 1 a old
				h 644 0:0 1 b a`,
			actions: chained(mkfile("/a", "A")),
			want:    `f 644 0:0 9999 a A`,
		}, {
			name: "a link is followed", base: `
				f 644 0:0 1 real old
				l 777 0:0 1 a /real`,
			actions: chained(mkfile("/a", "A")),
			want:    `f 644 0:0 9999 real A`,
		}, {
			name: "a link to nowhere is followed", base: `l 777 0:0 1 a ../../real`,
			actions: chained(mkfile("/a", "A")),
			want:    `f 644 0:0 9999 real A`,
		}, {
			name: "a device is replaced, not written to", base: `c 666 0:0 1 a 1,3`,
			actions: chained(mkfile("/a", "A")),
			want:    `f 644 0:0 9999 a A`,
		}, {
			name: "a directory is there", base: `d 755 0:0 1 a`,
			actions: chained(mkfile("/a", "A")),
			err:     "mkfile /a: is a directory",
		}, {
			name:    "the root",
			actions: chained(mkfile("/..", "A")),
			err:     "mkfile /: is a directory",
		}, {
			name:    "parent is missing",
			actions: chained(mkfile("/a/b", "A")),
			err:     "mkfile /a/b: no such file or directory",
		}, {
			name: "parent is a file", base: `f 644 0:0 1 a x`,
			actions: chained(mkfile("/a/b", "A")),
			err:     "not a directory",
		}, {
			name: "group of a setgid directory", base: `d 2755 1:50 1 a`,
			actions: chained(mkfile("/a/b", "A")),
			want:    `f 644 0:50 9999 a/b A`,
		}, {
			name: "the same again is no change", base: `f 644 0:0 77 a A`,
			actions: chained(mkfile("/a", "A", func(m *Mkfile) { m.Timestamp = at(77) })),
			want:    ``,
		},
	})
}
