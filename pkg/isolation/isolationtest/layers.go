package isolationtest

import (
	"fmt"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// layerCases have layers of every shape below the process. That it sees the files that the tree
// says is checked by every case of the suite, see checkMerged.
func layerCases() []testCase {
	opaque := Dir("data/d", 0o755)
	opaque.Opaque = true
	opaqueRoot := Dir("", 0o750)
	opaqueRoot.Opaque = true
	attrs := File("data/x", 0o644, "x")
	attrs.Xattrs = map[string]string{"user.a": "1", "user.overlay.opaque": "y", "trusted.overlay.redirect": "/"}
	attrDir := Dir("data/y", 0o755)
	attrDir.Xattrs = map[string]string{"user.overlay.opaque": "y"}
	fine := File("data/t", 0o644, "")
	fine.ModTime = Epoch().Add(123456789)
	return []testCase{
		{
			name:   "whiteouts",
			base:   data(File("data/f", 0o644, "f"), Dir("data/d", 0o755), File("data/d/a", 0o644, "a"), Symlink("data/l", "f")),
			layers: [][]layer.File{{Whiteout("data/f"), Whiteout("data/l"), Whiteout("data/d")}},
			script: "ls -A /data", want: []string{},
		},
		{
			name:   "whiteouts of nothing",
			base:   data(),
			layers: [][]layer.File{{Whiteout("data/f"), Whiteout("nowhere/f"), Whiteout("etc/passwd/f")}},
			script: "ls -A /data; test ! -e /nowhere; test -f /etc/passwd", want: []string{},
		},
		{
			name:   "whiteout of a directory that comes back by its content",
			base:   data(Dir("data/d", 0o700), File("data/d/a", 0o644, "a")),
			layers: [][]layer.File{{Whiteout("data/d"), File("data/d/b", 0o644, "b")}},
			script: "ls -A /data/d", out: "b\n", want: []string{},
		},
		{
			name:   "opaque directory",
			base:   data(Dir("data/d", 0o755), File("data/d/a", 0o644, "a")),
			layers: [][]layer.File{{opaque, File("data/d/b", 0o644, "b")}},
			script: "ls -A /data/d", out: "b\n", want: []string{},
		},
		{
			name:   "opaque root directory",
			layers: [][]layer.File{append([]layer.File{opaqueRoot}, File("only", 0o644, "x"))},
			args:   []string{"/bin/true"},
			fails:  func(t *testing.T, err error) { checkExit(t, err, 127) },
		},
		{
			name:   "directory over a file over a directory",
			base:   data(Dir("data/d", 0o755), File("data/d/a", 0o644, "a")),
			layers: [][]layer.File{{File("data/d", 0o644, "f")}, {Dir("data/d", 0o711), File("data/d/b", 0o644, "b")}},
			script: "ls -A /data/d", out: "b\n", want: []string{},
		},
		{
			name:   "removing what a middle layer brought",
			base:   data(),
			layers: [][]layer.File{{File("data/f", 0o644, "f")}, {Dir("data", 0o755)}},
			script: "rm /data/f" + keep, want: []string{dataDir, "gone data/f"},
		},
		{
			name: "directories that a layer only implies keep their attributes",
			base: data(Owned(Dir("data/d", 0o1770), 5, 6), Dir("data/d/e", 0o700)),
			layers: [][]layer.File{
				{File("data/d/e/f", 0o644, "f")},
				{File("new/x/y", 0o644, "y")},
			},
			script: "stat -c '%a %u %g %Y' /data/d /data/d/e /new/x", out: "1770 5 6 1000000000\n700 0 0 1000000000\n755 0 0 0\n", want: []string{},
		},
		{
			name:   "implied directory over a link",
			base:   data(Dir("data/d", 0o755), Symlink("data/l", "d")),
			layers: [][]layer.File{{File("data/l/f", 0o644, "f")}},
			script: "test ! -h /data/l; ls -A /data/d /data/l", out: "/data/d:\n\n/data/l:\nf\n", want: []string{},
		},
		{
			name:   "hard links across layers",
			base:   data(Owned(File("data/f", 0o640, "content"), 7, 8)),
			layers: [][]layer.File{{Hardlink("data/g", "data/f"), Hardlink("data/h", "data/g")}},
			script: "cat /data/g /data/h; stat -c ' %a %u %g' /data/g; helper links /data/g /data/h", out: "contentcontent 640 7 8\ntrue\n", want: []string{},
		},
		{
			name:   "hard links within a layer",
			base:   data(File("data/z", 0o640, "content"), Hardlink("data/a", "data/z"), Symlink("data/l", "z"), Hardlink("data/m", "data/l")),
			script: "helper links /data/a /data/z; readlink /data/m", out: "true\nz\n", want: []string{},
		},
		{
			name: "devices and fifos in a layer", needs: noDevices,
			base: data(
				layer.File{Entry: layer.Entry{Path: "data/c", Type: layer.CharDevice, Mode: 0o622, Major: 1, Minor: 3, ModTime: Epoch()}},
				layer.File{Entry: layer.Entry{Path: "data/b", Type: layer.BlockDevice, Mode: 0o660, GID: 6, Major: 7, Minor: 300, ModTime: Epoch()}},
				layer.File{Entry: layer.Entry{Path: "data/p", Type: layer.Fifo, Mode: 0o600, ModTime: Epoch()}},
			),
			script: "chmod 600 /data/c", want: []string{dataDir, "char 0600 0:0 data/c 1,3 @1000000000"},
		},
		{
			name: "extended attributes, but not overlayfs's own", base: data(attrs, attrDir, fine),
			layers: [][]layer.File{{Dir("data/y", 0o755)}, {File("data/y/f", 0o644, "")}},
			script: "helper getxattrs /data/x; ls -A /data/y; stat -c %y /data/t", outHas: []string{"user.a=\"1\"\n", "f\n", "01:46:40.123456789"},
			outNot: []string{"opaque", "redirect"}, want: []string{},
		},
		{
			name: "file capabilities in a layer", args: []string{"/bin/helper-cap", "caps"},
			edit: asApp, out: "0000000000000400\n", want: []string{},
		},
		{
			name: "setuid programs in a layer", args: []string{"/bin/helper-suid", "euid"},
			edit: asApp, out: "0\n", want: []string{},
		},
		{
			name: "hundreds of layers", layers: manyLayers(600),
			script: "ls /many | wc -l; cat /many/1 /many/300 /many/600 /last; test ! -e /first; echo; echo x >>/many/1; rm /many/2; touch -d @1000000000 /many /many/1",
			out:    "600\n1300600600\n",
			want:   []string{`dir 0755 0:0 many @1000000000`, `file 0644 0:0 many/1 "1x\n" @1000000000`, "gone many/2"},
		},
		{
			name: "an empty root filesystem with one program", alone: true,
			base: []layer.File{}, args: []string{"/nothing"},
			fails: func(t *testing.T, err error) { checkExit(t, err, 127) },
		},
	}
}

// manyLayers makes n layers, each with a file of its own, with one that all of them replace,
// and one that the second removes.
func manyLayers(n int) [][]layer.File {
	var layers [][]layer.File
	for i := range n {
		number := fmt.Sprint(i + 1)
		files := []layer.File{Dir("many", 0o755), File("many/"+number, 0o644, number), File("last", 0o644, number)}
		switch i {
		case 0:
			files = append(files, File("first", 0o644, ""))
		case 1:
			files = append(files, Whiteout("first"))
		}
		layers = append(layers, files)
	}
	return layers
}

// asApp runs the process as the user app of [Rootfs], with all groups.
func asApp(_ *testing.T, p *isolation.Process) {
	p.User = tree.User{UID: 1000, GID: 1000, Groups: []uint32{10, 2000}, Home: "/home/app"}
}
