package op

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// mount translates m for the backend. It is nil for an optional secret or agent that was not
// given. cacheDir is the directory of a cache mount.
func (m *ExecMount) mount(ctx context.Context, env *Env, in []Input, cacheDir string) (_ *isolation.Mount, err error) {
	out := &isolation.Mount{
		Type: m.Type, Target: m.Dest, ReadOnly: m.ReadOnly, Selector: m.Selector,
		UID: m.UID, GID: m.GID, Mode: fs.FileMode(m.Mode) & fs.ModePerm,
	}
	if m.Input >= 0 {
		out.Tree = in[m.Input].Tree
	}
	switch m.Type {
	case isolation.MountBind:
		out.Output = m.hasOutput()
	case isolation.MountTmpfs:
		out.Size = m.TmpfsSize
	case isolation.MountSecret:
		if out.Data, err = secret(ctx, env, m.SecretID, m.Optional); err != nil || out.Data == nil {
			return nil, err
		}
	case isolation.MountSSH:
		id := cmp.Or(m.SecretID, "default")
		socket, ok := env.Agents[id]
		if !ok && m.Optional {
			return nil, nil
		}
		if !ok {
			return nil, fmt.Errorf("no SSH key %q forwarded: add --ssh %s", id, id)
		}
		out.HostSocket = socket
	case isolation.MountCache:
		out.HostDir, out.Tree, out.Selector = cacheDir, nil, ""
	default:
		return nil, fmt.Errorf("mount %s: unknown type %d", m.Dest, m.Type)
	}
	return out, nil
}
