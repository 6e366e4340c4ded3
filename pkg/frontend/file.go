package frontend

import (
	"fmt"
	"strings"
	"time"

	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/op"
)

// maxMode is the largest mode of chmod(2).
const maxMode = 0o7777

// decodeFile decodes COPY, ADD, WORKDIR and heredocs.
func decodeFile(f *pb.FileOp, inputs int) (op.Op, error) {
	if len(f.GetActions()) == 0 {
		return nil, fmt.Errorf("build graph: a file operation has no actions")
	}
	out := &op.File{}
	for i, a := range f.GetActions() {
		d := fileDecoder{trees: inputs + i}
		action, err := d.action(a)
		if err != nil {
			return nil, err
		}
		// Only the last action has a result, which is the operation's own.
		if last := i == len(f.GetActions())-1; last != (action.Output == 0) {
			return nil, &UnsupportedError{What: "a file operation with several results"}
		}
		out.Actions = append(out.Actions, action)
	}
	return out, nil
}

// fileDecoder decodes one action. trees is the number of trees that it can refer to: the
// operation's inputs and the results of the actions before.
type fileDecoder struct{ trees int }

func (d fileDecoder) index(i int64) (int, error) {
	if i < -1 || i >= int64(d.trees) {
		return 0, fmt.Errorf("build graph: a file action refers to input %d of %d", i, d.trees)
	}
	return int(i), nil
}

func (d fileDecoder) action(a *pb.FileAction) (out op.FileAction, err error) {
	if out.Input, err = d.index(a.GetInput()); err != nil {
		return out, err
	}
	if out.Secondary, err = d.index(a.GetSecondaryInput()); err != nil {
		return out, err
	}
	if o := a.GetOutput(); o < -1 || o > 0 {
		return out, &UnsupportedError{What: "a file operation with several results"}
	}
	out.Output = int(a.GetOutput())
	switch kind := a.GetAction().(type) {
	case *pb.FileAction_Copy:
		out.Copy, err = d.copy(kind.Copy)
	case *pb.FileAction_Mkdir:
		out.Mkdir, err = d.mkdir(kind.Mkdir)
	case *pb.FileAction_Mkfile:
		out.Mkfile, err = d.mkfile(kind.Mkfile)
	case *pb.FileAction_Rm:
		err = &UnsupportedError{What: "a file action that removes " + kind.Rm.GetPath()}
	case *pb.FileAction_Symlink:
		err = &UnsupportedError{What: "a file action that makes the symbolic link " + kind.Symlink.GetNewpath()}
	default:
		err = &UnsupportedError{What: "a file action of unknown kind"}
	}
	return out, err
}

func (d fileDecoder) copy(c *pb.FileActionCopy) (*op.Copy, error) {
	out := &op.Copy{
		Src: c.GetSrc(), Dest: c.GetDest(),
		Mode: -1, ModeStr: c.GetModeStr(),
		FollowSymlink:                  c.GetFollowSymlink(),
		DirCopyContents:                c.GetDirCopyContents(),
		AttemptUnpack:                  c.GetAttemptUnpackDockerCompatibility(),
		CreateDestPath:                 c.GetCreateDestPath(),
		AllowWildcard:                  c.GetAllowWildcard(),
		AllowEmptyWildcard:             c.GetAllowEmptyWildcard(),
		AlwaysReplaceExistingDestPaths: c.GetAlwaysReplaceExistingDestPaths(),
		Timestamp:                      timestamp(c.GetTimestamp()),
		Include:                        c.GetIncludePatterns(),
		Exclude:                        c.GetExcludePatterns(),
		RequiredPaths:                  c.GetRequiredPaths(),
	}
	if err := absolute("source", out.Src); err != nil {
		return nil, err
	}
	if err := absolute("destination", out.Dest); err != nil {
		return nil, err
	}
	// With a symbolic mode, the number is 0 and means nothing.
	if out.ModeStr == "" && c.GetMode() != -1 {
		mode, err := fileMode(c.GetMode())
		if err != nil {
			return nil, err
		}
		out.Mode = mode
	}
	var err error
	out.Owner, err = d.owner(c.GetOwner())
	return out, err
}

func (d fileDecoder) mkdir(m *pb.FileActionMkDir) (*op.Mkdir, error) {
	if err := absolute("directory", m.GetPath()); err != nil {
		return nil, err
	}
	mode, err := fileMode(m.GetMode())
	if err != nil {
		return nil, err
	}
	owner, err := d.owner(m.GetOwner())
	return &op.Mkdir{
		Path: m.GetPath(), Mode: mode, MakeParents: m.GetMakeParents(),
		Owner: owner, Timestamp: timestamp(m.GetTimestamp()),
	}, err
}

func (d fileDecoder) mkfile(m *pb.FileActionMkFile) (*op.Mkfile, error) {
	if err := absolute("file", m.GetPath()); err != nil {
		return nil, err
	}
	mode, err := fileMode(m.GetMode())
	if err != nil {
		return nil, err
	}
	owner, err := d.owner(m.GetOwner())
	return &op.Mkfile{
		Path: m.GetPath(), Mode: mode, Data: m.GetData(),
		Owner: owner, Timestamp: timestamp(m.GetTimestamp()),
	}, err
}

func (d fileDecoder) owner(o *pb.ChownOpt) (*op.Owner, error) {
	if o == nil {
		return nil, nil
	}
	user, err := d.principal(o.GetUser())
	if err != nil {
		return nil, err
	}
	group, err := d.principal(o.GetGroup())
	if err != nil {
		return nil, err
	}
	return &op.Owner{User: user, Group: group}, nil
}

func (d fileDecoder) principal(u *pb.UserOpt) (*op.Principal, error) {
	if u == nil {
		return nil, nil
	}
	switch kind := u.GetUser().(type) {
	case *pb.UserOpt_ByID:
		return &op.Principal{ID: kind.ByID, Input: -1}, nil
	case *pb.UserOpt_ByName:
		input, err := d.index(kind.ByName.GetInput())
		if err != nil {
			return nil, err
		}
		if kind.ByName.GetName() == "" {
			return nil, fmt.Errorf("build graph: a file action has an owner without name")
		}
		return &op.Principal{Name: kind.ByName.GetName(), Input: input}, nil
	}
	return nil, &UnsupportedError{What: "an owner of unknown kind"}
}

// absolute refuses paths that are not below the root. Lexical tricks in them do no harm: what is
// done with them is done in a tree.
func absolute(what, p string) error {
	if !strings.HasPrefix(p, "/") {
		return fmt.Errorf("build graph: %s %q is not an absolute path", what, p)
	}
	return nil
}

func fileMode(mode int32) (int, error) {
	if mode < 0 || mode > maxMode {
		return 0, fmt.Errorf("build graph: file mode %#o is out of range", mode)
	}
	return int(mode), nil
}

// timestamp converts LLB's nanoseconds, where -1 stands for none.
func timestamp(ns int64) *time.Time {
	if ns == -1 {
		return nil
	}
	t := time.Unix(0, ns).UTC()
	return &t
}
