package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
)

// Where a root filesystem has its users, and how many bytes either file may have: BuildKit's
// limit, executor/oci/user.go.
const (
	passwdPath  = "/etc/passwd"
	groupPath   = "/etc/group"
	maxUserFile = 10 << 20
)

// ErrUnknownUser is matched by the errors of [View.UID] and [View.GID] for a name that does not
// exist.
var ErrUnknownUser = errors.New("no such user or group")

// User is a resolved user.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
	Home     string   // "/" if the view does not say
}

// User resolves "user[:group]", each by name or number, as BuildKit does for USER and RUN
// (executor/oci/user.go over github.com/moby/sys/user):
//
//   - Numbers are taken as they are, whether or not they exist; "root" is the number 0.
//   - A user alone brings the group and the supplementary groups that /etc/passwd and
//     /etc/group give it; a user without an entry has group 0. With a group there are no
//     supplementary groups.
//   - Names that do not exist are an error; so are files of more than 10 MiB.
//   - "" is user 0, and 0:0 whatever the files look like.
//   - A file that is missing, or is no regular file, counts as empty.
//
// Home is that of the first entry with the same number, as the OCI runtimes set HOME.
func (v *View) User(ctx context.Context, spec string) (User, error) {
	passwd, err := v.userFile(ctx, passwdPath)
	if err != nil {
		return User{}, fmt.Errorf("user %q: %w", spec, err)
	}
	group, err := v.userFile(ctx, groupPath)
	if err != nil {
		return User{}, fmt.Errorf("user %q: %w", spec, err)
	}
	u, err := parseUser(spec, passwd, group)
	if err != nil {
		return User{}, fmt.Errorf("user %q: %w", spec, err)
	}
	return u, nil
}

// UID returns the number and the primary group of the user with a name, for --chown. A name that
// does not exist, also for want of /etc/passwd, is an error that matches [ErrUnknownUser].
func (v *View) UID(ctx context.Context, name string) (uid, gid uint32, err error) {
	passwd, err := v.userFile(ctx, passwdPath)
	if err != nil {
		return 0, 0, fmt.Errorf("user %q: %w", name, err)
	}
	return passwdEntry(name, passwd)
}

// GID returns the number of the group with a name, for --chown. A name that does not exist,
// also for want of /etc/group, is an error that matches [ErrUnknownUser].
func (v *View) GID(ctx context.Context, name string) (gid uint32, err error) {
	group, err := v.userFile(ctx, groupPath)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	return groupEntry(name, group)
}

// userFile returns the content of the file at p, nil if there is none.
func (v *View) userFile(ctx context.Context, p string) ([]byte, error) {
	n, ok := v.regularFile(p)
	if !ok {
		return nil, nil
	}
	data, err := n.read(ctx, maxUserFile)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", p, err)
	}
	return data, nil
}

// regularFile returns what is at p, if that is a regular file.
func (v *View) regularFile(p string) (*Node, bool) {
	// Lookup fails only for what the view is, never for want of access to it.
	n, err := v.Lookup(p)
	return n, err == nil && n.IsRegular()
}

// parseUser is User on the bytes of the two files.
func parseUser(spec string, passwd, group []byte) (User, error) {
	if uid, gid, ok := parseNumbers(spec); ok {
		return newUser(uid, gid, nil, passwd)
	}
	exec, err := user.GetExecUser(spec, nil, reader(passwd), reader(group))
	if err != nil {
		if spec == "" {
			return User{Home: rootHome(passwd)}, nil
		}
		return User{}, err
	}
	return newUser(int64(exec.Uid), int64(exec.Gid), exec.Sgids, passwd)
}

// reader gives the user package a nil reader for a missing file, so that it tells one from
// an empty file as with real files.
func reader(data []byte) io.Reader {
	if data == nil {
		return nil
	}
	return bytes.NewReader(data)
}

// parseNumbers reads "uid:gid". "root" counts as a number.
func parseNumbers(spec string) (uid, gid int64, ok bool) {
	u, g, found := strings.Cut(spec, ":")
	if !found {
		return 0, 0, false
	}
	uid, uok := parseNumber(u)
	gid, gok := parseNumber(g)
	return uid, gid, uok && gok
}

func parseNumber(s string) (int64, bool) {
	if s == "root" {
		return 0, true
	}
	id, err := strconv.ParseUint(s, 10, 32)
	return int64(id), err == nil
}

// newUser checks numbers, which in foreign files can be anything, and adds the home directory.
func newUser(uid, gid int64, groups []int, passwd []byte) (u User, err error) {
	if u.UID, err = checkID(uid); err != nil {
		return User{}, err
	}
	if u.GID, err = checkID(gid); err != nil {
		return User{}, err
	}
	for _, g := range groups {
		id, err := checkID(int64(g))
		if err != nil {
			return User{}, err
		}
		u.Groups = append(u.Groups, id)
	}
	u.Home, err = home(uid, passwd)
	return u, err
}

// checkID refuses what the kernel does not take for an id: 2^32-1 is its "none".
func checkID(id int64) (uint32, error) {
	if id < 0 || id >= math.MaxUint32 {
		return 0, fmt.Errorf("id %d is not in the range 0 to %d", id, uint32(math.MaxUint32-1))
	}
	return uint32(id), nil
}
