package op

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/moby/sys/user"
)

// maxUserFile is the size that BuildKit reads of /etc/passwd and /etc/group, in bytes.
const maxUserFile = 10 << 20

// ids is a numeric owner.
type ids struct{ uid, gid uint32 }

// resolve looks the owner's names up in the drafts that load gives for their inputs. As in
// BuildKit, a user brings its group with it (by number: the same number), a group overrides
// that, and a name that does not exist is root's; unknown lists those, as "user app". A nil
// owner gives nil.
func (o *Owner) resolve(ctx context.Context, load func(input int) (*draft, error)) (own *ids, unknown []string, err error) {
	if o == nil {
		return nil, nil, nil
	}
	own = &ids{}
	if u := o.User; u != nil {
		found, err := u.user(ctx, load, own)
		if err != nil {
			return nil, nil, fmt.Errorf("look up user %q: %w", u.Name, err)
		}
		if !found {
			unknown = append(unknown, "user "+u.Name)
		}
	}
	if g := o.Group; g != nil {
		gid, found, err := g.group(ctx, load)
		if err != nil {
			return nil, nil, fmt.Errorf("look up group %q: %w", g.Name, err)
		}
		if found {
			own.gid = gid
		} else {
			unknown = append(unknown, "group "+g.Name)
		}
	}
	return own, unknown, nil
}

func (p *Principal) user(ctx context.Context, load func(int) (*draft, error), own *ids) (found bool, err error) {
	if p.Name == "" {
		*own = ids{p.ID, p.ID}
		return true, nil
	}
	err = readUserFile(ctx, load, p.Input, "/etc/passwd", func(r io.Reader) error {
		users, err := user.ParsePasswdFilter(r, func(u user.User) bool { return u.Name == p.Name })
		if err == nil && len(users) > 0 {
			*own, found = ids{uint32(users[0].Uid), uint32(users[0].Gid)}, true
		}
		return err
	})
	return found, err
}

func (p *Principal) group(ctx context.Context, load func(int) (*draft, error)) (gid uint32, found bool, err error) {
	if p.Name == "" {
		return p.ID, true, nil
	}
	err = readUserFile(ctx, load, p.Input, "/etc/group", func(r io.Reader) error {
		groups, err := user.ParseGroupFilter(r, func(g user.Group) bool { return g.Name == p.Name })
		if err == nil && len(groups) > 0 {
			gid, found = uint32(groups[0].Gid), true
		}
		return err
	})
	return gid, found, err
}

// readUserFile passes the file at p in an input to parse, unless there is none.
func readUserFile(ctx context.Context, load func(int) (*draft, error), input int, p string, parse func(io.Reader) error) (err error) {
	d, err := load(input)
	if err != nil {
		return err
	}
	real, err := d.rootPath(p)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	ino, err := d.lstat(real)
	if isNotExist(err) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	if !ino.isRegular() {
		return fmt.Errorf("%s is not a regular file", p)
	}
	if ino.meta.Size > maxUserFile {
		return fmt.Errorf("%s exceeds %d bytes", p, maxUserFile)
	}
	r, err := ino.body.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	return parse(r)
}
