package tree

import (
	"bytes"
	"fmt"

	"github.com/moby/sys/user"
)

// home returns the home directory of the first entry with a number, "/" if there is none.
func home(uid int64, passwd []byte) (string, error) {
	users, err := user.ParsePasswdFilter(bytes.NewReader(passwd), func(u user.User) bool { return int64(u.Uid) == uid })
	if err != nil {
		return "", fmt.Errorf("parse %s: %w", passwdPath, err)
	}
	if len(users) == 0 || users[0].Home == "" {
		return "/", nil
	}
	return users[0].Home, nil
}

// rootHome returns the home directory of user 0, also if the file cannot be parsed.
func rootHome(passwd []byte) string {
	h, err := home(0, passwd)
	if err != nil {
		return "/"
	}
	return h
}

// passwdEntry returns the ids of the first user with a name.
func passwdEntry(name string, passwd []byte) (uid, gid uint32, err error) {
	users, err := user.ParsePasswdFilter(bytes.NewReader(passwd), func(u user.User) bool { return u.Name == name })
	if err != nil {
		return 0, 0, fmt.Errorf("parse %s: %w", passwdPath, err)
	}
	if len(users) == 0 {
		return 0, 0, fmt.Errorf("user %q: %w", name, ErrUnknownUser)
	}
	if uid, err = checkID(int64(users[0].Uid)); err != nil {
		return 0, 0, fmt.Errorf("user %q: %w", name, err)
	}
	if gid, err = checkID(int64(users[0].Gid)); err != nil {
		return 0, 0, fmt.Errorf("user %q: %w", name, err)
	}
	return uid, gid, nil
}

// groupEntry returns the id of the first group with a name.
func groupEntry(name string, group []byte) (gid uint32, err error) {
	groups, err := user.ParseGroupFilter(bytes.NewReader(group), func(g user.Group) bool { return g.Name == name })
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", groupPath, err)
	}
	if len(groups) == 0 {
		return 0, fmt.Errorf("group %q: %w", name, ErrUnknownUser)
	}
	if gid, err = checkID(int64(groups[0].Gid)); err != nil {
		return 0, fmt.Errorf("group %q: %w", name, err)
	}
	return gid, nil
}
