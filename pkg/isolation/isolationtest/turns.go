package isolationtest

// turnCases make one kind of file of another, and undo or exchange what there was: where a
// layer needs whiteouts and opaque directories, or must not have them.
func turnCases() []testCase {
	d := data(Dir("data/d", 0o755), File("data/d/a", 0o644, "a"), Dir("data/d/e", 0o755), File("data/d/e/b", 0o644, "b"))
	two := data(Dir("data/p", 0o700), File("data/p/x", 0o644, "x"), Dir("data/q", 0o755), File("data/q/y", 0o644, "y"))
	return []testCase{
		{
			name: "file becomes a link", base: data(File("data/f", 0o644, "x")), script: "rm /data/f; ln -s g /data/f; touch -hd @1100000000 /data/f" + keep,
			want: []string{dataDir, `link 0777 0:0 data/f -> g @1100000000`},
		},
		{
			name: "link becomes a file", base: data(Symlink("data/l", "g")), script: "rm /data/l; echo y >/data/l; touch -d @1100000000 /data/l" + keep,
			want: []string{dataDir, `file 0644 0:0 data/l "y\n" @1100000000`},
		},
		{
			name: "directory becomes a fifo", base: d, script: "rm -r /data/d; mkfifo /data/d; touch -d @1100000000 /data/d" + keep,
			want: []string{dataDir, `fifo 0644 0:0 data/d @1100000000`},
		},
		{
			name: "directory becomes a device", base: d, needs: noDevices, script: "rm -r /data/d; mknod /data/d c 1 3; touch -d @1100000000 /data/d" + keep,
			want: []string{dataDir, `char 0644 0:0 data/d 1,3 @1100000000`},
		},
		{
			name: "directory becomes a socket, which is left out", base: d, script: "rm -r /data/d; helper socket /data/d" + keep,
			want: []string{dataDir, "gone data/d"},
		},
		{
			name: "directory becomes a link to where it went", base: d,
			script: "cd /data; mv d n; ln -s n d; touch -hd @1100000000 d; touch -d @1100000000 n/e n" + keep,
			want: []string{
				dataDir, `link 0777 0:0 data/d -> n @1100000000`, `dir 0755 0:0 data/n @1100000000`,
				`file 0644 0:0 data/n/a "a" @1000000000`, `dir 0755 0:0 data/n/e @1100000000`, `file 0644 0:0 data/n/e/b "b" @1000000000`,
			},
		},
		{
			name: "link is replaced by the directory it points to", base: append(d, Symlink("data/l", "d")),
			script: "cd /data; rm l; mv d l; touch -d @1100000000 l/e l" + keep,
			want: []string{
				dataDir, "gone data/d", `dir 0755 0:0 data/l @1100000000`, `file 0644 0:0 data/l/a "a" @1000000000`,
				`dir 0755 0:0 data/l/e @1100000000`, `file 0644 0:0 data/l/e/b "b" @1000000000`,
			},
		},
		{
			name: "directory becomes a file and a directory again", base: d,
			script: "cd /data; rm -r d; echo f >d; rm d; mkdir -p d/e; echo n >d/e/n; touch -d @1100000000 d/e/n d/e d" + keep,
			want: []string{
				dataDir, `dir 0755 0:0 data/d opaque @1100000000`, `dir 0755 0:0 data/d/e @1100000000`, `file 0644 0:0 data/d/e/n "n\n" @1100000000`,
			},
		},
		{
			name: "directory goes, a file whose name begins like it comes", base: d, script: "cd /data; rm -r d; echo x >d.x; touch -d @1100000000 d.x" + keep,
			want: []string{dataDir, "gone data/d", `file 0644 0:0 data/d.x "x\n" @1100000000`},
		},
		{
			name: "remove and create the same file", base: data(File("data/f", 0o644, "x")), script: "rm /data/f; printf x >/data/f; touch -d @1000000000 /data/f" + keep,
			want: []string{},
		},
		{
			name: "remove and create the same directory", base: d,
			script: "cd /data; rm -r d; mkdir -p d/e; printf a >d/a; printf b >d/e/b; touch -d @1000000000 d/a d/e/b d/e d" + keep,
			want: []string{
				dataDir, `dir 0755 0:0 data/d opaque @1000000000`, `file 0644 0:0 data/d/a "a" @1000000000`,
				`dir 0755 0:0 data/d/e @1000000000`, `file 0644 0:0 data/d/e/b "b" @1000000000`,
			},
		},
		{
			name: "rename a directory into another", base: two, script: "cd /data; mv p q; touch -d @1100000000 q/p q" + keep,
			want: []string{
				dataDir, "gone data/p", `dir 0755 0:0 data/q @1100000000`, `dir 0700 0:0 data/q/p @1100000000`, `file 0644 0:0 data/q/p/x "x" @1000000000`,
			},
		},
		{
			name: "exchange two directories", base: two, script: "cd /data; mv p t; mv q p; mv t q; touch -d @1100000000 p q" + keep,
			want: []string{
				dataDir, `dir 0755 0:0 data/p opaque @1100000000`, `file 0644 0:0 data/p/y "y" @1000000000`,
				`dir 0700 0:0 data/q opaque @1100000000`, `file 0644 0:0 data/q/x "x" @1000000000`,
			},
		},
		{
			name: "exchange a file and a directory", base: append(two, File("data/f", 0o600, "f")),
			script: "cd /data; mv p t; mv f p; mv t f; touch -d @1100000000 f" + keep,
			want: []string{
				dataDir, `dir 0700 0:0 data/f @1100000000`, `file 0644 0:0 data/f/x "x" @1000000000`, `file 0600 0:0 data/p "f" @1000000000`,
			},
		},
		{
			name: "deleted directory comes back with one of its files", base: d,
			script: "cd /data; rm -r d; mkdir d; printf a >d/a; touch -d @1000000000 d/a d" + keep,
			want:   []string{dataDir, `dir 0755 0:0 data/d opaque @1000000000`, `file 0644 0:0 data/d/a "a" @1000000000`},
		},
		{
			name: "deleted directory comes back with a directory for its file", base: d,
			script: "cd /data; rm -r d; mkdir -p d/a; echo x >d/a/x; touch -d @1100000000 d/a/x d/a d" + keep,
			want:   []string{dataDir, `dir 0755 0:0 data/d opaque @1100000000`, `dir 0755 0:0 data/d/a @1100000000`, `file 0644 0:0 data/d/a/x "x\n" @1100000000`},
		},
		{
			name: "deleted directory comes back deep in a directory that stays", base: d,
			script: "cd /data/d; rm -r e; mkdir e; echo n >e/n; touch -d @1100000000 e/n e; touch -d @1000000000 ." + keep,
			want: []string{
				dataDir, `dir 0755 0:0 data/d @1000000000`, `dir 0755 0:0 data/d/e opaque @1100000000`, `file 0644 0:0 data/d/e/n "n\n" @1100000000`,
			},
		},
	}
}

// linkCases break and make links between files of lower layers. Left out is what overlayfs and a
// plain filesystem do differently with them: renaming one of two names.
func linkCases() []testCase {
	pair := data(File("data/f", 0o644, "x"), Hardlink("data/g", "data/f"))
	return []testCase{
		{
			name: "hard link broken by a new file", base: pair, script: "rm /data/g; echo y >/data/g; touch -d @1100000000 /data/g; cat /data/f" + keep,
			out: "x", want: []string{dataDir, `file 0644 0:0 data/g "y\n" @1100000000`},
		},
		{
			name: "hard link broken by renaming over it", base: pair, script: "echo y >/data/n; mv /data/n /data/g; touch -d @1100000000 /data/g; cat /data/f" + keep,
			out: "x", want: []string{dataDir, `file 0644 0:0 data/g "y\n" @1100000000`},
		},
		{
			name: "first name of hard links replaced", base: pair, script: "rm /data/f; echo y >/data/f; touch -d @1100000000 /data/f; cat /data/g" + keep,
			out: "x", want: []string{dataDir, `file 0644 0:0 data/f "y\n" @1100000000`},
		},
		{
			name: "hard link made one with another file", base: append(pair, File("data/h", 0o600, "z")), script: "ln -f /data/h /data/g; cat /data/f" + keep,
			out: "x", want: []string{dataDir, `file 0600 0:0 data/g "z" @1000000000`, "hard data/h -> data/g"},
		},
		{
			name: "hard link becomes a symbolic one", base: pair, script: "ln -sf f /data/g; touch -hd @1100000000 /data/g; cat /data/g" + keep,
			out: "x", want: []string{dataDir, `link 0777 0:0 data/g -> f @1100000000`},
		},
		{
			name: "both names of hard links removed, one comes back", base: pair, script: "rm /data/f /data/g; echo y >/data/g; touch -d @1100000000 /data/g" + keep,
			want: []string{dataDir, "gone data/f", `file 0644 0:0 data/g "y\n" @1100000000`},
		},
	}
}
