package op

import (
	"time"
)

// File is a FileOp: a chain of actions on trees, computed without a real filesystem. Its
// result is the tree of the input that the last action started from, plus one layer.
type File struct {
	Actions []FileAction
}

// FileAction is one step of a [File]. Indexes below the number of inputs name an input of the
// vertex, those above the result of an earlier action, -1 an empty tree.
type FileAction struct {
	Input     int // the tree that is changed
	Secondary int // the tree that is copied from; -1 if none
	Output    int // -1, or the output index this action's result becomes

	// Exactly one of these is set.
	Copy   *Copy
	Mkdir  *Mkdir
	Mkfile *Mkfile
}

// Copy is COPY and ADD. Field by field it is solver/pb's FileActionCopy.
type Copy struct {
	Src, Dest string
	Owner     *Owner
	// Mode is the octal mode of --chmod, -1 if not given; ModeStr is its
	// symbolic form ("u=rwX,go=rX"), "" if not given.
	Mode                            int
	ModeStr                         string
	FollowSymlink                   bool
	DirCopyContents                 bool
	AttemptUnpack                   bool
	CreateDestPath                  bool
	AllowWildcard                   bool
	AllowEmptyWildcard              bool
	AlwaysReplaceExistingDestPaths  bool
	Timestamp                       *time.Time // nil: keep the source's
	Include, Exclude, RequiredPaths []string
}

// Mkdir makes a directory, as WORKDIR does. An existing one is left alone.
type Mkdir struct {
	Path        string
	Mode        int
	MakeParents bool
	Owner       *Owner
	Timestamp   *time.Time // nil: now
}

// Mkfile writes a file, as a heredoc does.
type Mkfile struct {
	Path      string
	Mode      int
	Data      []byte
	Owner     *Owner
	Timestamp *time.Time // nil: now
}

// Owner is who gets what an action makes; a nil *Owner, User or Group stands for root, or
// for the source's owner where a copy keeps owners.
type Owner struct {
	User, Group *Principal
}

// Principal is a user or group by number, or by a name that is looked up in the tree of an
// input (an index as in FileAction).
type Principal struct {
	ID    uint32
	Name  string // "" if by ID
	Input int
}
