package op

import (
	"testing"

	"github.com/slipway-build/slipway/pkg/tree"
)

// keyCase is a build step of which a key is taken: a copy from input 1 to input 0 unless the
// actions say otherwise.
type keyCase struct {
	base    byte // the key of input 0
	passwd  string
	src     string
	actions []FileAction
}

func (c keyCase) key(t *testing.T) Key {
	t.Helper()
	in := []Input{
		// The content of what is changed must not be looked at.
		input(tree.New(noContent{specTree(t, "f 644 0:0 1 etc/passwd app:x:100:101::/:/bin/sh").Top()}), c.base),
		input(specTree(t, c.src), 99),
		input(specTree(t, c.passwd), 98),
	}
	k, err := (&File{Actions: c.actions}).Key(t.Context(), testEnv(t), in)
	must(t, err)
	if again, err := (&File{Actions: c.actions}).Key(t.Context(), testEnv(t), in); err != nil || again != k {
		t.Fatalf("asked again, the key is another: %v", err)
	}
	return k
}

const keySource = `
	d 755 0:0 1 d
	f 644 1:2 1 d/f F {user.x=1}
	f 644 0:0 1 d/g G
	l 777 0:0 1 d/l f
	c 600 0:0 1 d/null 1,3
	f 644 0:0 1 other O
	h 644 0:0 1 linked other`

func copyOne(src, dest string, change ...func(*Copy)) []FileAction {
	return []FileAction{{Input: 0, Secondary: 1, Output: 0, Copy: dockerfileCopy(src, dest, change...)}}
}

func TestFileKeyChanges(t *testing.T) {
	base := keyCase{base: 1, src: keySource, passwd: "f 644 0:0 1 etc/passwd app:x:100:101::/:/bin/sh", actions: copyOne("/d", "/x")}
	withSource := func(src string) keyCase { c := base; c.src = src; return c }
	withCopy := func(src, dest string, change ...func(*Copy)) keyCase {
		c := base
		c.actions = copyOne(src, dest, change...)
		return c
	}
	withActions := func(actions ...FileAction) keyCase {
		c := base
		c.actions = actions
		return c
	}
	other := base
	other.base = 2

	// All of these keys differ from each other.
	cases := map[string]keyCase{
		"itself":          base,
		"another base":    other,
		"content":         withSource("d 755 0:0 1 d\nf 644 1:2 1 d/f f {user.x=1}\nf 644 0:0 1 d/g G\nl 777 0:0 1 d/l f\nc 600 0:0 1 d/null 1,3"),
		"mode":            withSource("d 755 0:0 1 d\nf 600 1:2 1 d/f F {user.x=1}\nf 644 0:0 1 d/g G\nl 777 0:0 1 d/l f\nc 600 0:0 1 d/null 1,3"),
		"directory mode":  withSource("d 700 0:0 1 d\nf 644 1:2 1 d/f F {user.x=1}\nf 644 0:0 1 d/g G\nl 777 0:0 1 d/l f\nc 600 0:0 1 d/null 1,3"),
		"owner":           withSource("d 755 0:0 1 d\nf 644 1:3 1 d/f F {user.x=1}\nf 644 0:0 1 d/g G\nl 777 0:0 1 d/l f\nc 600 0:0 1 d/null 1,3"),
		"attribute":       withSource("d 755 0:0 1 d\nf 644 1:2 1 d/f F {user.x=2}\nf 644 0:0 1 d/g G\nl 777 0:0 1 d/l f\nc 600 0:0 1 d/null 1,3"),
		"link":            withSource("d 755 0:0 1 d\nf 644 1:2 1 d/f F {user.x=1}\nf 644 0:0 1 d/g G\nl 777 0:0 1 d/l g\nc 600 0:0 1 d/null 1,3"),
		"device":          withSource("d 755 0:0 1 d\nf 644 1:2 1 d/f F {user.x=1}\nf 644 0:0 1 d/g G\nl 777 0:0 1 d/l f\nc 600 0:0 1 d/null 1,5"),
		"type":            withSource("d 755 0:0 1 d\nf 644 1:2 1 d/f F {user.x=1}\nf 644 0:0 1 d/g G\nl 777 0:0 1 d/l f\nb 600 0:0 1 d/null 1,3"),
		"name":            withSource("d 755 0:0 1 d\nf 644 1:2 1 d/F F {user.x=1}\nf 644 0:0 1 d/g G\nl 777 0:0 1 d/l f\nc 600 0:0 1 d/null 1,3"),
		"one more":        withSource("d 755 0:0 1 d\nf 644 1:2 1 d/f F {user.x=1}\nf 644 0:0 1 d/g G\nl 777 0:0 1 d/l f\nc 600 0:0 1 d/null 1,3\nf 644 0:0 1 d/h"),
		"hard link":       withSource("d 755 0:0 1 d\nf 644 1:2 1 d/f F {user.x=1}\nh 644 1:2 1 d/g d/f\nl 777 0:0 1 d/l f\nc 600 0:0 1 d/null 1,3"),
		"no hard link":    withSource("d 755 0:0 1 d\nf 644 1:2 1 d/f F {user.x=1}\nf 644 1:2 1 d/g F {user.x=1}\nl 777 0:0 1 d/l f\nc 600 0:0 1 d/null 1,3"),
		"destination":     withCopy("/d", "/y"),
		"slash":           withCopy("/d", "/x/"),
		"whole":           withCopy("/d", "/x", wholeDir),
		"no follow":       withCopy("/d", "/x", noFollow),
		"no create":       withCopy("/d", "/x", noCreate),
		"no wildcard":     withCopy("/d", "/x", noWildcard),
		"no empty":        withCopy("/d", "/x", noEmpty),
		"replace":         withCopy("/d", "/x", replaceExisting),
		"unpack":          withCopy("/d", "/x", unpackArchives),
		"octal":           withCopy("/d", "/x", chmod(0o755)),
		"symbolic":        withCopy("/d", "/x", symbolic("755")),
		"timestamp":       withCopy("/d", "/x", timestamp(5)),
		"timestamp 0":     withCopy("/d", "/x", timestamp(0)),
		"user 0":          withCopy("/d", "/x", chown(byID(0), nil)),
		"group 0":         withCopy("/d", "/x", chown(nil, byID(0))),
		"user 1":          withCopy("/d", "/x", chown(byID(1), nil)),
		"group 1":         withCopy("/d", "/x", chown(nil, byID(1))),
		"user and group":  withCopy("/d", "/x", chown(byID(1), byID(1))),
		"user app":        withCopy("/d", "/x", chown(byName("app", 0), nil)),
		"user of input":   withCopy("/d", "/x", chown(byName("app", 2), nil)),
		"group app":       withCopy("/d", "/x", chown(nil, byName("app", 0))),
		"include":         withCopy("/d", "/x", include("f")),
		"include another": withCopy("/d", "/x", include("g")),
		"exclude":         withCopy("/d", "/x", exclude("f")),
		"required":        withCopy("/d", "/x", required("/d/f")),
		"one file":        withCopy("/d/g", "/x"),
		"its name":        withCopy("/other", "/x"),
		"its other name":  withCopy("/linked", "/x"),
		"from base":       withActions(FileAction{Input: 0, Secondary: 0, Output: 0, Copy: dockerfileCopy("/d", "/x")}),
		"from base, path": withActions(FileAction{Input: 0, Secondary: 0, Output: 0, Copy: dockerfileCopy("/e/d", "/x")}),
		"on nothing":      withActions(FileAction{Input: -1, Secondary: 1, Output: 0, Copy: dockerfileCopy("/d", "/x")}),
		"mkdir":           withActions(FileAction{Input: 0, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/x", Mode: 0o755}}),
		"mkdir parents":   withActions(FileAction{Input: 0, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/x", Mode: 0o755, MakeParents: true}}),
		"mkdir mode":      withActions(FileAction{Input: 0, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/x", Mode: 0o700}}),
		"mkdir time":      withActions(FileAction{Input: 0, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/x", Mode: 0o755, Timestamp: at(5)}}),
		"mkfile":          withActions(FileAction{Input: 0, Secondary: -1, Output: 0, Mkfile: &Mkfile{Path: "/x", Mode: 0o755}}),
		"mkfile data":     withActions(FileAction{Input: 0, Secondary: -1, Output: 0, Mkfile: &Mkfile{Path: "/x", Mode: 0o755, Data: []byte("x")}}),
		"mkfile mode":     withActions(FileAction{Input: 0, Secondary: -1, Output: 0, Mkfile: &Mkfile{Path: "/x", Mode: 0o600}}),
		"two actions": withActions(
			FileAction{Input: 0, Secondary: -1, Output: -1, Mkdir: &Mkdir{Path: "/x", Mode: 0o755}},
			FileAction{Input: 3, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/x", Mode: 0o755}}),
		"two outputs": withActions(
			FileAction{Input: 0, Secondary: -1, Output: 1, Mkdir: &Mkdir{Path: "/x", Mode: 0o755}},
			FileAction{Input: 3, Secondary: -1, Output: 0, Mkdir: &Mkdir{Path: "/x", Mode: 0o755}}),
	}
	seen := map[Key]string{}
	for name, c := range cases {
		k := c.key(t)
		if twin, ok := seen[k]; ok {
			t.Errorf("%q and %q have the same key", name, twin)
		}
		seen[k] = name
	}
}

func TestFileKeyStays(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b keyCase
	}{
		{
			"other times",
			keyCase{src: "d 755 0:0 1 d\nf 644 0:0 1 d/f F", actions: copyOne("/d", "/x")},
			keyCase{src: "d 755 0:0 2 d\nf 644 0:0 3 d/f F", actions: copyOne("/d", "/x")},
		}, {
			"files that are not copied",
			keyCase{src: "f 644 0:0 1 d/f F", actions: copyOne("/d", "/x")},
			keyCase{src: "f 644 0:0 1 d/f F\nf 644 0:0 1 e E", actions: copyOne("/d", "/x")},
		}, {
			"files that patterns leave out",
			keyCase{src: "f 644 0:0 1 d/f F", actions: copyOne("/", "/x", include("d/f"))},
			keyCase{src: "f 644 0:0 1 d/f F\nf 644 0:0 1 d/g G\nf 644 0:0 1 e/e E", actions: copyOne("/", "/x", include("d/f"))},
		}, {
			"directories above the source",
			keyCase{src: "f 644 0:0 1 a/f F", actions: copyOne("/a/f", "/x")},
			keyCase{src: "f 644 0:0 1 b/c/f F", actions: copyOne("/b/c/f", "/x")},
		}, {
			"the name of a directory whose contents are copied",
			keyCase{src: "f 644 0:0 1 a/f F", actions: copyOne("/a", "/x")},
			keyCase{src: "f 644 0:0 1 b/f F", actions: copyOne("/b", "/x")},
		}, {
			"owners of files that get another",
			keyCase{src: "f 644 1:1 1 a/f F", actions: copyOne("/a", "/x", chown(byID(1), nil))},
			keyCase{src: "f 644 2:2 1 a/f F", actions: copyOne("/a", "/x", chown(byID(1), nil))},
		}, {
			"hard links to files that are not copied",
			keyCase{src: "f 644 0:0 1 a/f F", actions: copyOne("/a", "/x")},
			keyCase{src: "f 644 0:0 1 a/f F\nh 644 0:0 1 b a/f", actions: copyOne("/a", "/x")},
		}, {
			"anything about a user but the numbers",
			keyCase{src: "f 644 0:0 1 f F", passwd: "f 644 0:0 1 etc/passwd app:x:5:6::/:", actions: copyOne("/f", "/x", chown(byName("app", 2), nil))},
			keyCase{src: "f 644 0:0 1 f F", passwd: "f 644 0:0 1 etc/passwd app:x:5:6:other:/home:/bin/sh", actions: copyOne("/f", "/x", chown(byName("app", 2), nil))},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.a.key(t) != c.b.key(t) {
				t.Error("the keys differ")
			}
		})
	}
}

func TestFileKeyMissing(t *testing.T) {
	f := &File{Actions: copyOne("/gone", "/x")}
	_, err := f.Key(t.Context(), testEnv(t), []Input{input(nil, 1), input(nil, 2)})
	if err == nil || err.Error() != `"/gone": not found` {
		t.Errorf("error is %v", err)
	}
}
