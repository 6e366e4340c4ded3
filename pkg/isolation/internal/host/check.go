package host

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// Check refuses a process that makes no sense, whatever a backend may be able to do.
func Check(p *isolation.Process) error {
	if len(p.Args) == 0 {
		return errors.New("isolation: no command to run")
	}
	for _, s := range append(append([]string{p.Cwd}, p.Args...), p.Env...) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("isolation: %q contains a zero byte", s)
		}
	}
	if !path.IsAbs(p.Cwd) {
		return fmt.Errorf("isolation: working directory %q is not absolute", p.Cwd)
	}
	if p.Network > isolation.NetworkNone {
		return fmt.Errorf("isolation: unknown network %d", p.Network)
	}
	for i := range p.Mounts {
		if err := checkMount(&p.Mounts[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkMount(m *isolation.Mount) error {
	if !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" {
		return fmt.Errorf("isolation: mount target %q is not an absolute path below /", m.Target)
	}
	switch m.Type {
	case isolation.MountBind, isolation.MountTmpfs, isolation.MountSecret:
	case isolation.MountCache:
		if m.HostDir == "" {
			return fmt.Errorf("isolation: cache mount %s has no directory", m.Target)
		}
	case isolation.MountSSH:
		if m.HostSocket == "" {
			return fmt.Errorf("isolation: ssh mount %s has no socket", m.Target)
		}
	default:
		return fmt.Errorf("isolation: mount %s is of unknown type %d", m.Target, m.Type)
	}
	return nil
}
