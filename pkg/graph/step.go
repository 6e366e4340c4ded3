package graph

import (
	"fmt"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
)

// Base is an image that the build starts from or copies from.
type Base struct {
	Ref    string `json:"ref"`              // with its digest
	Layout bool   `json:"layout,omitempty"` // out of an OCI layout rather than a registry
}

// Local is a directory given to the build, and which files of it are read.
type Local struct {
	Name        string   `json:"name"`
	Include     []string `json:"include,omitempty"`
	Exclude     []string `json:"exclude,omitempty"`
	FollowPaths []string `json:"followPaths,omitempty"`
}

// Download is a file from a web server.
type Download struct {
	URL      string `json:"url"` // without credentials
	Filename string `json:"filename,omitempty"`
	Checksum string `json:"checksum,omitempty"` // that the file must have
}

// Repository is what a git repository has at one commit.
type Repository struct {
	URL string `json:"url"` // without credentials
	// Ref is a branch, a tag or a commit; "" for HEAD.
	Ref      string `json:"ref,omitempty"`
	Subdir   string `json:"subdir,omitempty"`
	Checksum string `json:"checksum,omitempty"` // that the commit or tag must have, or its beginning
	// ByCommit takes the commit of Checksum, whatever Ref is.
	ByCommit       bool `json:"byCommit,omitempty"`
	KeepGitDir     bool `json:"keepGitDir,omitempty"`
	SkipSubmodules bool `json:"skipSubmodules,omitempty"`
}

// Action is one change that a step of kind file makes.
type Action struct {
	Action  string   `json:"action"` // "copy", "mkdir" or "mkfile"
	From    int      `json:"from,omitempty"`
	Source  string   `json:"source,omitempty"`
	Dest    string   `json:"dest"`
	Owner   string   `json:"owner,omitempty"`
	Mode    string   `json:"mode,omitempty"`
	Unpack  bool     `json:"unpack,omitempty"`
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
}

// Command is a RUN. Its environment is left out: values of build arguments are in it.
type Command struct {
	Args      []string    `json:"args"`
	Dir       string      `json:"dir"`
	User      string      `json:"user,omitempty"`
	Network   string      `json:"network,omitempty"` // "none" or "host"
	Insecure  bool        `json:"insecure,omitempty"`
	SecretEnv []SecretEnv `json:"secretEnv,omitempty"`
	Mounts    []Mount     `json:"mounts,omitempty"` // without that of the root
}

// SecretEnv is a secret that a RUN gets as a variable.
type SecretEnv struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Required bool   `json:"required,omitempty"`
}

// Mount is a mount of a RUN.
type Mount struct {
	Type   string `json:"type"` // "bind", "cache", "tmpfs", "secret" or "ssh"
	Target string `json:"target"`
	// From is the ID of the step whose files are mounted, or that a cache starts from; 0 for none.
	From     int    `json:"from,omitempty"`
	Source   string `json:"source,omitempty"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	ID       string `json:"id,omitempty"`      // of a cache, secret or agent
	Sharing  string `json:"sharing,omitempty"` // of a cache
	Size     int64  `json:"size,omitempty"`    // of a tmpfs, in bytes
	Required bool   `json:"required,omitempty"`
}

// describe adds what is known of the operation.
func (s *Step) describe(v *op.Vertex, step func(input int) int) {
	switch o := v.Op.(type) {
	case *op.Image:
		s.Platform = o.Platform.String()
		s.Image = &Base{Ref: o.Ref, Layout: o.Layout != ""}
	case *op.Local:
		s.Local = &Local{Name: o.Name, Include: o.Include, Exclude: o.Exclude, FollowPaths: o.FollowPaths}
	case *op.HTTP:
		s.HTTP = &Download{URL: op.RedactURL(o.URL), Filename: o.Filename}
		if !o.Sum.IsZero() {
			s.HTTP.Checksum = fmt.Sprintf("sha256:%x", o.Sum)
		}
	case *op.Git:
		s.Git = &Repository{
			URL: op.RedactURL(o.URL), Ref: o.Ref, Subdir: o.Subdir, Checksum: o.Checksum,
			ByCommit: o.ByCommit, KeepGitDir: o.KeepGitDir, SkipSubmodules: o.SkipSubmodules,
		}
	case *op.File:
		for i := range o.Actions {
			s.File = append(s.File, action(&o.Actions[i], step))
		}
	case *op.Exec:
		s.Platform = o.Platform.String()
		s.Exec = command(o, step)
	}
}

func action(a *op.FileAction, step func(input int) int) Action {
	switch {
	case a.Copy != nil:
		c := a.Copy
		out := Action{
			Action: "copy", From: step(a.Secondary), Source: c.Src, Dest: c.Dest, Owner: owner(c.Owner),
			Mode: c.ModeStr, Unpack: c.AttemptUnpack, Include: c.Include, Exclude: c.Exclude,
		}
		if c.ModeStr == "" && c.Mode != -1 {
			out.Mode = octal(c.Mode)
		}
		return out
	case a.Mkdir != nil:
		return Action{Action: "mkdir", Dest: a.Mkdir.Path, Owner: owner(a.Mkdir.Owner), Mode: octal(a.Mkdir.Mode)}
	default:
		return Action{Action: "mkfile", Dest: a.Mkfile.Path, Owner: owner(a.Mkfile.Owner), Mode: octal(a.Mkfile.Mode)}
	}
}

func octal(mode int) string { return fmt.Sprintf("%#o", mode) }

// owner gives USER:GROUP, "" where nothing was asked for.
func owner(o *op.Owner) string {
	if o == nil {
		return ""
	}
	text := principal(o.User)
	if o.Group != nil {
		text += ":" + principal(o.Group)
	}
	return text
}

func principal(p *op.Principal) string {
	switch {
	case p == nil:
		return ""
	case p.Name != "":
		return p.Name
	}
	return fmt.Sprint(p.ID)
}

func command(e *op.Exec, step func(input int) int) *Command {
	c := &Command{Args: e.Args, Dir: e.Cwd, User: e.User, Insecure: e.Insecure}
	switch e.Network {
	case isolation.NetworkNone:
		c.Network = "none"
	case isolation.NetworkHost:
		c.Network = "host"
	}
	for _, s := range e.SecretEnv {
		c.SecretEnv = append(c.SecretEnv, SecretEnv{ID: s.ID, Name: s.Name, Required: !s.Optional})
	}
	for i := range e.Mounts {
		if m := &e.Mounts[i]; m.Dest != "/" {
			c.Mounts = append(c.Mounts, mount(m, step))
		}
	}
	return c
}

func mount(m *op.ExecMount, step func(input int) int) Mount {
	out := Mount{Target: m.Dest, From: step(m.Input), Source: m.Selector, ReadOnly: m.ReadOnly}
	switch m.Type {
	case isolation.MountBind:
		out.Type = "bind"
	case isolation.MountCache:
		out.Type, out.ID = "cache", m.CacheID
		out.Sharing = map[op.CacheSharing]string{op.CacheShared: "shared", op.CachePrivate: "private", op.CacheLocked: "locked"}[m.Sharing]
	case isolation.MountTmpfs:
		out.Type, out.Size = "tmpfs", m.TmpfsSize
	case isolation.MountSecret:
		out.Type, out.ID, out.Required = "secret", m.SecretID, !m.Optional
	case isolation.MountSSH:
		out.Type, out.ID, out.Required = "ssh", m.SecretID, !m.Optional
	}
	return out
}
