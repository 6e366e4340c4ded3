package isolationtest

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/slipway-build/slipway/pkg/layer"
)

// data is the directory that the file cases work in. It has a fixed time, which scripts give back
// to it with $keep: the directory is then listed in the layer only for what is in it.
func data(files ...layer.File) []layer.File {
	return append([]layer.File{Dir("data", 0o755)}, files...)
}

const (
	keep    = "; touch -d @1000000000 /data"
	dataDir = `dir 0755 0:0 data @1000000000`
)

// fileCases change files in every way there is and expect the layer that says so.
func fileCases() []testCase {
	return slices.Concat(contentCases(), replaceCases(), turnCases(), kindCases(), linkCases())
}

func contentCases() []testCase {
	zeros := string(make([]byte, 300_000))
	return []testCase{
		{name: "nothing", script: ":"},
		{name: "reading", base: data(File("data/f", 0o644, "x")), script: "cat /data/f", out: "x"},
		{
			name: "create", base: data(), script: "echo hi >/data/f; touch -d @1100000000 /data/f" + keep,
			want: []string{dataDir, `file 0644 0:0 data/f "hi\n" @1100000000`},
		},
		{
			name: "create empty", base: data(), script: ": >/data/f; touch -d @1100000000 /data/f" + keep,
			want: []string{dataDir, `file 0644 0:0 data/f "" @1100000000`},
		},
		{
			name: "append", base: data(File("data/f", 0o600, "one ")), script: "echo two >>/data/f",
			want: []string{dataDir, `file 0600 0:0 data/f "one two\n"`},
		},
		{
			name: "open for writing only", base: data(File("data/f", 0o644, "x")), script: ": >>/data/f",
			want: []string{},
		},
		{
			name: "same bytes at the same time", base: data(File("data/f", 0o644, "same")),
			script: "printf same >/data/f; touch -d @1000000000 /data/f",
			want:   []string{},
		},
		{
			name: "other bytes of the same length at the same time", base: data(File("data/f", 0o644, "same")),
			script: "printf emas >/data/f; touch -d @1000000000 /data/f",
			want:   []string{dataDir, `file 0644 0:0 data/f "emas" @1000000000`},
		},
		{
			name: "large file with one byte changed", base: data(File("data/f", 0o644, zeros)),
			script: "printf x | dd of=/data/f bs=1 seek=299999 conv=notrunc 2>/dev/null; touch -d @1000000000 /data/f",
			want:   []string{dataDir, fmt.Sprintf("file 0644 0:0 data/f sha256:%x @1000000000", sha256.Sum256([]byte(zeros[1:]+"x")))},
		},
		{
			name: "chmod", base: data(File("data/f", 0o644, "x")), script: "chmod 4711 /data/f",
			want: []string{dataDir, `file 4711 0:0 data/f "x" @1000000000`},
		},
		{
			name: "chmod to what it is", base: data(File("data/f", 0o644, "x")), script: "chmod 644 /data/f",
			want: []string{},
		},
		{
			name: "chown", base: data(File("data/f", 0o644, "x")), script: "chown 12:34 /data/f",
			want: []string{dataDir, `file 0644 12:34 data/f "x" @1000000000`},
		},
		{
			name: "chown of a link", base: data(Symlink("data/l", "nowhere")), script: "chown -h 12:34 /data/l",
			want: []string{dataDir, `link 0777 12:34 data/l -> nowhere @1000000000`},
		},
		{
			name: "chmod of a directory", base: data(Dir("data/d", 0o755), File("data/d/f", 0o644, "x")), script: "chmod 1777 /data/d",
			want: []string{dataDir, `dir 1777 0:0 data/d @1000000000`},
		},
		{
			name: "touch", base: data(File("data/f", 0o644, "x")), script: "touch -d @1200000000 /data/f",
			want: []string{dataDir, `file 0644 0:0 data/f "x" @1200000000`},
		},
		{
			name: "touch a directory", base: data(Dir("data/d", 0o755)), script: "touch -d @1200000000 /data/d",
			want: []string{dataDir, `dir 0755 0:0 data/d @1200000000`},
		},
		{
			name: "extended attributes", base: data(File("data/f", 0o644, "x"), Dir("data/d", 0o755)),
			script: "helper setxattr /data/f user.a 1; helper setxattr /data/f user.b 2; helper setxattr /data/d user.c 3",
			want: []string{
				dataDir, `dir 0755 0:0 data/d user.c="3" @1000000000`,
				`file 0644 0:0 data/f "x" user.a="1" user.b="2" @1000000000`,
			},
		},
		{
			name: "file capabilities", base: data(), script: "cp /bin/helper /data/f; helper setcap /data/f; echo x >/data/f; helper setcap /data/f; touch -d @1100000000 /data/f" + keep,
			want: []string{dataDir, `file 0755 0:0 data/f "x\n" security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" @1100000000`},
		},
		{
			name: "in the root directory", script: "echo hi >/f; touch -d @1100000000 /f",
			want: []string{`file 0644 0:0 f "hi\n" @1100000000`},
		},
		{
			name: "mode of the root directory", script: "chmod 700 /",
			want: []string{`dir 0700 0:0 / @1000000000`},
		},
		{
			name: "names that are hard to write", base: data(),
			script: `cd /data; for f in 'a b' '-x' '.wh.y' "$(printf '\377\n')" '*' ; do : >"./$f"; touch -d @1100000000 "./$f"; done` + keep,
			want: []string{
				dataDir, `file 0644 0:0 data/* "" @1100000000`, `file 0644 0:0 data/-x "" @1100000000`,
				`file 0644 0:0 data/.wh.y "" @1100000000`, `file 0644 0:0 data/a b "" @1100000000`,
				"file 0644 0:0 data/\xff \"\" @1100000000",
			},
		},
	}
}

func replaceCases() []testCase {
	d := data(Dir("data/d", 0o755), File("data/d/a", 0o644, "a"), Dir("data/d/e", 0o755), File("data/d/e/b", 0o644, "b"))
	return []testCase{
		{
			name: "remove a file", base: data(File("data/f", 0o644, "x"), File("data/g", 0o644, "y")), script: "rm /data/f" + keep,
			want: []string{dataDir, "gone data/f"},
		},
		{name: "remove a directory", base: d, script: "rm -r /data/d" + keep, want: []string{dataDir, "gone data/d"}},
		{name: "remove a link", base: data(Symlink("data/l", "x")), script: "rm /data/l" + keep, want: []string{dataDir, "gone data/l"}},
		{
			name: "remove from a directory and give it its time back", base: d, script: "rm /data/d/e/b; touch -d @1000000000 /data/d/e",
			want: []string{dataDir, `dir 0755 0:0 data/d @1000000000`, `dir 0755 0:0 data/d/e @1000000000`, "gone data/d/e/b"},
		},
		{name: "create and remove", base: data(), script: "mkdir /data/x; echo x >/data/x/y; rm -r /data/x" + keep, want: []string{}},
		{
			name: "remove and create a file", base: data(File("data/f", 0o600, "x")), script: "rm /data/f; echo y >/data/f; touch -d @1100000000 /data/f" + keep,
			want: []string{dataDir, `file 0644 0:0 data/f "y\n" @1100000000`},
		},
		{
			name: "remove and create a directory", base: d, script: "rm -r /data/d; mkdir -m 700 /data/d; touch -d @1100000000 /data/d" + keep,
			want: []string{dataDir, `dir 0700 0:0 data/d opaque @1100000000`},
		},
		{
			name: "remove and create an empty directory", base: data(Dir("data/d", 0o755)), script: "rm -r /data/d; mkdir -m 700 /data/d; touch -d @1100000000 /data/d" + keep,
			want: []string{dataDir, `dir 0700 0:0 data/d @1100000000`},
		},
		{
			name: "remove and create a directory with files", base: d,
			script: "rm -r /data/d; mkdir -p /data/d/e; echo n >/data/d/n; touch -d @1100000000 /data/d/n /data/d/e /data/d" + keep,
			want: []string{
				dataDir, `dir 0755 0:0 data/d opaque @1100000000`, `dir 0755 0:0 data/d/e @1100000000`,
				`file 0644 0:0 data/d/n "n\n" @1100000000`,
			},
		},
		{
			name: "directory becomes a file", base: d, script: "rm -r /data/d; echo f >/data/d; touch -d @1100000000 /data/d" + keep,
			want: []string{dataDir, `file 0644 0:0 data/d "f\n" @1100000000`},
		},
		{
			name: "directory becomes a link", base: d, script: "rm -r /data/d; ln -s /tmp /data/d; touch -hd @1100000000 /data/d" + keep,
			want: []string{dataDir, `link 0777 0:0 data/d -> /tmp @1100000000`},
		},
		{
			name: "file becomes a directory", base: data(File("data/f", 0o644, "x")),
			script: "rm /data/f; mkdir /data/f; echo y >/data/f/y; touch -d @1100000000 /data/f/y /data/f" + keep,
			want:   []string{dataDir, `dir 0755 0:0 data/f @1100000000`, `file 0644 0:0 data/f/y "y\n" @1100000000`},
		},
		{
			name: "link becomes a directory", base: data(Symlink("data/l", "/tmp")),
			script: "rm /data/l; mkdir /data/l; touch -d @1100000000 /data/l" + keep,
			want:   []string{dataDir, `dir 0755 0:0 data/l @1100000000`},
		},
		{
			name: "rename a file", base: data(File("data/f", 0o640, "x")), script: "mv /data/f /data/g" + keep,
			want: []string{dataDir, "gone data/f", `file 0640 0:0 data/g "x" @1000000000`},
		},
		{
			name: "rename over a file", base: data(File("data/f", 0o640, "x"), File("data/g", 0o644, "y")), script: "mv /data/f /data/g" + keep,
			want: []string{dataDir, "gone data/f", `file 0640 0:0 data/g "x" @1000000000`},
		},
		{
			name: "rename a directory of lower layers", base: d, script: "mv /data/d /data/n; touch -d @1100000000 /data/n /data/n/e" + keep,
			want: []string{
				dataDir, "gone data/d", `dir 0755 0:0 data/n @1100000000`, `file 0644 0:0 data/n/a "a" @1000000000`,
				`dir 0755 0:0 data/n/e @1100000000`, `file 0644 0:0 data/n/e/b "b" @1000000000`,
			},
		},
		{
			name: "rename a new directory over a removed one", base: d,
			script: "mkdir /data/n; echo x >/data/n/x; rm -r /data/d; mv /data/n /data/d; touch -d @1100000000 /data/d/x /data/d" + keep,
			want:   []string{dataDir, `dir 0755 0:0 data/d opaque @1100000000`, `file 0644 0:0 data/d/x "x\n" @1100000000`},
		},
	}
}

func kindCases() []testCase {
	return []testCase{
		{
			name: "hard links", base: data(), script: "cd /data; echo x >b; ln b a; ln b c; touch -d @1100000000 a" + keep,
			want: []string{dataDir, `file 0644 0:0 data/a "x\n" @1100000000`, "hard data/b -> data/a", "hard data/c -> data/a"},
		},
		{
			name: "hard link to a file of a lower layer", base: data(File("data/f", 0o644, "x")), script: "ln /data/f /data/g" + keep,
			want: []string{dataDir, `file 0644 0:0 data/f "x" @1000000000`, "hard data/g -> data/f"},
		},
		{
			name: "hard link made and removed", base: data(File("data/f", 0o644, "x")), script: "ln /data/f /data/g; rm /data/g" + keep,
			want: []string{},
		},
		{
			name: "writing through one of two links", base: data(File("data/f", 0o644, "x"), Hardlink("data/g", "data/f")),
			script: "echo y >/data/g; touch -d @1100000000 /data/g",
			want:   []string{dataDir, `file 0644 0:0 data/g "y\n" @1100000000`},
		},
		{
			name: "removing one of two links", base: data(File("data/f", 0o644, "x"), Hardlink("data/g", "data/f")), script: "rm /data/f; cat /data/g" + keep,
			out: "x", want: []string{dataDir, "gone data/f"},
		},
		{
			name: "symbolic links", base: data(), script: "cd /data; ln -s /etc/passwd abs; ln -s ../nowhere rel; touch -hd @1100000000 abs rel" + keep,
			want: []string{dataDir, `link 0777 0:0 data/abs -> /etc/passwd @1100000000`, `link 0777 0:0 data/rel -> ../nowhere @1100000000`},
		},
		{
			name: "symbolic link with another target", base: data(Symlink("data/l", "one")), script: "ln -sfn two /data/l; touch -hd @1000000000 /data/l" + keep,
			want: []string{dataDir, `link 0777 0:0 data/l -> two @1000000000`},
		},
		{
			name: "fifo", base: data(), script: "mkfifo -m 620 /data/p; touch -d @1100000000 /data/p" + keep,
			want: []string{dataDir, `fifo 0620 0:0 data/p @1100000000`},
		},
		{
			name: "devices", base: data(), needs: noDevices,
			script: "mknod -m 600 /data/c c 1 3; mknod -m 660 /data/b b 7 300; touch -d @1100000000 /data/b /data/c" + keep,
			want:   []string{dataDir, `block 0660 0:0 data/b 7,300 @1100000000`, `char 0600 0:0 data/c 1,3 @1100000000`},
		},
		{name: "sockets are left out", base: data(), script: "helper socket /data/s" + keep, want: []string{}},
		{
			name: "socket in place of a file", base: data(File("data/s", 0o644, "x")), script: "rm /data/s; helper socket /data/s" + keep,
			want: []string{dataDir, "gone data/s"},
		},
		{
			name: "setuid, setgid and sticky bits", base: data(),
			script: "cd /data; echo >u; chmod 4755 u; echo >g; chmod 2755 g; mkdir s; chmod 3777 s; touch -d @1100000000 u g s" + keep,
			want: []string{
				dataDir, `file 2755 0:0 data/g "\n" @1100000000`, `dir 3777 0:0 data/s @1100000000`,
				`file 4755 0:0 data/u "\n" @1100000000`,
			},
		},
	}
}
