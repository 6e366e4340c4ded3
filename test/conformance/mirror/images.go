package mirror

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-build/slipway/internal/testbase"
)

// pushAll gives the registry at host the stand-ins, all of them made of busybox.
func pushAll(ctx context.Context, host string) error {
	program, err := testbase.Find(ctx)
	if err != nil {
		return err
	}
	base, err := program.Image()
	if err != nil {
		return err
	}
	alpine := alpineFiles()
	git, err := programs(ctx, "git")
	if err != nil {
		return err
	}
	maps.Copy(alpine, git)
	for _, s := range []struct {
		tag   string
		cmd   []string
		files map[string]string
	}{
		{"library/busybox:latest", []string{"sh"}, busyboxFiles()},
		{"library/busybox:stable", []string{"sh"}, busyboxFiles()},
		{"library/busybox:stable-musl", []string{"sh"}, busyboxFiles()},
		{"library/alpine:latest", []string{"/bin/sh"}, alpine},
		{"amd64/debian:bullseye-20230109-slim", []string{"bash"}, alpineFiles()},
	} {
		image, err := standIn(base, s.cmd, s.files)
		if err != nil {
			return fmt.Errorf("making %s: %w", s.tag, err)
		}
		ref, err := name.ParseReference(host+"/"+s.tag, name.Insecure)
		if err != nil {
			return err
		}
		if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("pushing %s: %w", s.tag, err)
		}
	}
	return nil
}

// standIn is base with files on top, in one layer and with the two steps of history that the image has that
// it stands for.
func standIn(base v1.Image, cmd []string, files map[string]string) (v1.Image, error) {
	content, err := layer(files)
	if err != nil {
		return nil, err
	}
	top, err := asLayer(content)
	if err != nil {
		return nil, err
	}
	both, err := mutate.AppendLayers(base, top)
	if err != nil {
		return nil, err
	}
	extracted := mutate.Extract(both)
	content, err = io.ReadAll(extracted)
	if err = errors.Join(err, extracted.Close()); err != nil {
		return nil, err
	}
	only, err := asLayer(content)
	if err != nil {
		return nil, err
	}
	config, err := base.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Config.Cmd = cmd
	config.RootFS.DiffIDs, config.History = nil, nil
	image, err := mutate.ConfigFile(empty.Image, config)
	if err != nil {
		return nil, err
	}
	return mutate.Append(image,
		mutate.Addendum{Layer: only, History: v1.History{CreatedBy: "BusyBox, made for BuildKit's tests"}},
		mutate.Addendum{History: v1.History{CreatedBy: fmt.Sprintf("CMD %q", cmd), EmptyLayer: true}},
	)
}

func asLayer(content []byte) (v1.Layer, error) {
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
}

// layer is a tar of what the images have beside testbase's: directories, users and a usual place of env,
// and commands to add users with.
func layer(files map[string]string) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	dirs := []string{"lib/", "media/", "mnt/", "opt/", "run/", "sbin/", "srv/", "usr/lib/", "usr/local/", "usr/local/bin/", "usr/sbin/", "usr/share/", "var/spool/", "var/www/"}
	for path := range files {
		if dir := filepath.Dir(path) + "/"; strings.HasPrefix(dir, "lib") && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range slices.Sorted(slices.Values(dirs)) {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: made}); err != nil {
			return nil, err
		}
	}
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "usr/bin/env", Linkname: "/bin/busybox", Mode: 0o777, ModTime: made}); err != nil {
		return nil, err
	}
	files = maps.Clone(files)
	files["usr/sbin/adduser"], files["usr/sbin/addgroup"] = adduser, addgroup
	for _, path := range slices.Sorted(maps.Keys(files)) {
		content, mode := files[path], int64(0o755)
		if strings.HasPrefix(path, "etc/") {
			mode = 0o644
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: mode, Size: int64(len(content)), ModTime: made}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, content); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// The commands that Debian's busybox lacks and other builds of it have, as far as the tests use them.
const (
	addgroup = `#!/bin/sh
# addgroup [-g GID] NAME
set -e
gid=
while getopts g: option; do gid=$OPTARG; done
shift $((OPTIND - 1))
if [ -z "$gid" ]; then
  gid=1000
  while grep -q "^[^:]*:[^:]*:$gid:" /etc/group; do gid=$((gid + 1)); done
fi
echo "$1:x:$gid:" >>/etc/group
`
	adduser = `#!/bin/sh
# adduser -D [-u UID] [-G GROUP] NAME
set -e
uid= group=
while getopts Du:G: option; do
  case $option in
    u) uid=$OPTARG ;;
    G) group=$OPTARG ;;
  esac
done
shift $((OPTIND - 1))
if [ -z "$uid" ]; then
  uid=1000
  while grep -q "^[^:]*:[^:]*:$uid:" /etc/passwd; do uid=$((uid + 1)); done
fi
if [ -z "$group" ]; then
  group=$1
  addgroup -g "$uid" "$1"
fi
gid=$(grep "^$group:" /etc/group | cut -d: -f3)
echo "$1:x:$uid:$gid:Linux User,,,:/home/$1:/bin/sh" >>/etc/passwd
echo "$1:!:19000:0:99999:7:::" >>/etc/shadow
mkdir -p "/home/$1"
chown "$uid:$gid" "/home/$1"
`
)

func busyboxFiles() map[string]string {
	return map[string]string{
		"etc/passwd": `root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
sync:x:4:100:sync:/bin:/bin/sync
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
operator:x:37:37:Operator:/var:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
`,
		"etc/group": `root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
wheel:x:10:root
www-data:x:33:
users:x:100:
nobody:x:65534:
`,
		"etc/shadow": "root:*:::::::\ndaemon:*:::::::\nnobody:*:::::::\n",
	}
}

func alpineFiles() map[string]string {
	return map[string]string{
		"sbin/apk":           apk,
		"etc/alpine-release": "3.18.4\n",
		"etc/passwd": `root:x:0:0:root:/root:/bin/ash
bin:x:1:1:bin:/bin:/sbin/nologin
daemon:x:2:2:daemon:/sbin:/sbin/nologin
adm:x:3:4:adm:/var/adm:/sbin/nologin
sync:x:5:0:sync:/sbin:/bin/sync
nobody:x:65534:65534:nobody:/:/sbin/nologin
`,
		"etc/group": `root:x:0:root
bin:x:1:root,bin,daemon
daemon:x:2:root,bin,daemon
sys:x:3:root,bin
adm:x:4:root,daemon
tty:x:5:
wheel:x:10:root
users:x:100:
nogroup:x:65533:
nobody:x:65534:
`,
		"etc/shadow": "root:*::0:::::\nbin:!::0:::::\ndaemon:!::0:::::\nnobody:!::0:::::\n",
	}
}
