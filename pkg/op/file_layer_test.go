package op

import "testing"

// Names that go without anything in their place are whiteouts, unless there was nothing or all of
// the directory is gone. No action of today does that, but a draft can.
func TestDraftRemove(t *testing.T) {
	const base = `
		d 755 0:0 1 d
		d 755 0:0 1 d/e
		f 644 0:0 1 d/e/f F
		f 644 0:0 1 g G
		h 644 0:0 1 h g`
	v, err := specTree(t, base).View(t.Context())
	must(t, err)
	for _, c := range []struct {
		name, want string
		change     func(d *draft)
	}{
		{"a file", `w 0 0:0 0 g`, func(d *draft) { d.remove(d.root, "g") }},
		{"a directory", `w 0 0:0 0 d`, func(d *draft) { d.remove(d.root, "d") }},
		{"below a directory", `w 0 0:0 0 d/e`, func(d *draft) { d.remove(d.child(d.root, "d"), "e") }},
		{"what was never there", ``, func(d *draft) { d.remove(d.root, "x") }},
		{"what was just made", ``, func(d *draft) {
			must(t, (&Mkfile{Path: "/x"}).apply(d, nil))
			d.remove(d.root, "x")
		}},
		{
			"and made again", `o 700 0:0 9999 d
				d 700 0:0 9999 d/e`,
			func(d *draft) {
				d.remove(d.root, "d")
				must(t, (&Mkdir{Path: "/d/e", Mode: 0o700, MakeParents: true}).apply(d, nil))
			},
		}, {
			"in a copy of the draft alone", ``,
			func(d *draft) {
				d.child(d.child(d.root, "d"), "e")
				c := d.clone()
				c.remove(c.child(c.root, "d"), "e")
				c.child(c.root, "g").edit().Mode = 0
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDraft(v, testNow)
			c.change(d)
			l, err := d.layer(t.Context(), v)
			must(t, err)
			checkLines(t, lines(c.want), formatLayer(t, l))
		})
	}
}
