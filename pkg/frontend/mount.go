package frontend

import (
	"fmt"
	"path"

	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
)

// mounts decodes the mounts of a RUN, in their order, and counts its outputs.
func mounts(list []*pb.Mount, inputs int) (out []op.ExecMount, outputs int, err error) {
	roots := 0
	seen := map[int]bool{}
	for _, pm := range list {
		m, err := mount(pm, inputs)
		if err != nil {
			return nil, 0, err
		}
		if m.Dest == "/" {
			roots++
			if m.Type != isolation.MountBind || m.ReadOnly || m.Output < 0 {
				return nil, 0, &UnsupportedError{What: "RUN without a writable root filesystem"}
			}
		}
		if m.Output >= 0 {
			if seen[m.Output] {
				return nil, 0, fmt.Errorf("build graph: RUN has output %d twice", m.Output)
			}
			seen[m.Output] = true
		}
		out = append(out, m)
	}
	if roots != 1 {
		return nil, 0, fmt.Errorf("build graph: RUN has %d root filesystems", roots)
	}
	for i := range len(seen) {
		if !seen[i] {
			return nil, 0, fmt.Errorf("build graph: RUN lacks output %d", i)
		}
	}
	return out, len(seen), nil
}

func mount(pm *pb.Mount, inputs int) (op.ExecMount, error) {
	m := op.ExecMount{
		Input:    int(pm.GetInput()),
		Output:   -1,
		Selector: pm.GetSelector(),
		Dest:     path.Clean(pm.GetDest()),
		ReadOnly: pm.GetReadonly(),
	}
	fail := func(err error) (op.ExecMount, error) {
		return op.ExecMount{}, fmt.Errorf("mount %s: %w", pm.GetDest(), err)
	}
	if err := absolute("mount target", pm.GetDest()); err != nil {
		return op.ExecMount{}, err
	}
	if i := pm.GetInput(); i < -1 || i >= int64(inputs) {
		return fail(fmt.Errorf("build graph: there is no input %d", i))
	}
	if err := checkMountOptions(pm); err != nil {
		return fail(err)
	}
	switch pm.GetMountType() {
	case pb.MountType_BIND:
		m.Type = isolation.MountBind
		// A read-only mount has no changes. Only bind mounts have outputs: those of
		// secrets and ssh agents say output 0, which means nothing.
		if o := pm.GetOutput(); o >= 0 && !m.ReadOnly {
			m.Output = int(o)
		}
	case pb.MountType_CACHE:
		if pm.GetCacheOpt().GetID() == "" {
			return fail(fmt.Errorf("build graph: a cache mount has no id"))
		}
		m.Type, m.CacheID = isolation.MountCache, pm.GetCacheOpt().GetID()
		var err error
		if m.Sharing, err = sharing(pm.GetCacheOpt().GetSharing()); err != nil {
			return fail(err)
		}
	case pb.MountType_TMPFS:
		if pm.GetTmpfsOpt().GetSize() < 0 {
			return fail(fmt.Errorf("size %d is negative", pm.GetTmpfsOpt().GetSize()))
		}
		m.Type, m.TmpfsSize = isolation.MountTmpfs, pm.GetTmpfsOpt().GetSize()
	case pb.MountType_SECRET:
		s := pm.GetSecretOpt()
		m.Type, m.SecretID, m.Optional = isolation.MountSecret, s.GetID(), s.GetOptional()
		m.UID, m.GID, m.Mode = s.GetUid(), s.GetGid(), s.GetMode()
	case pb.MountType_SSH:
		s := pm.GetSSHOpt()
		m.Type, m.SecretID, m.Optional = isolation.MountSSH, s.GetID(), s.GetOptional()
		m.UID, m.GID, m.Mode = s.GetUid(), s.GetGid(), s.GetMode()
	default:
		return fail(&UnsupportedError{What: fmt.Sprintf("mount type %v", pm.GetMountType())})
	}
	if m.Mode > maxMode {
		return fail(fmt.Errorf("file mode %#o is out of range", m.Mode))
	}
	return m, nil
}

// checkMountOptions refuses options that belong to no mount of a Dockerfile, or to another type of
// mount than this one.
func checkMountOptions(pm *pb.Mount) error {
	if pm.GetResultID() != "" {
		return &UnsupportedError{What: "a mount of another build's result"}
	}
	if pm.GetContentCache() != pb.MountContentCache_DEFAULT {
		return &UnsupportedError{What: "a mount with a setting for content caching"}
	}
	t := pm.GetMountType()
	for _, o := range []struct {
		set  bool
		of   pb.MountType
		name string
	}{
		{pm.GetTmpfsOpt() != nil, pb.MountType_TMPFS, "tmpfs"},
		{pm.GetCacheOpt() != nil, pb.MountType_CACHE, "cache"},
		{pm.GetSecretOpt() != nil, pb.MountType_SECRET, "secret"},
		{pm.GetSSHOpt() != nil, pb.MountType_SSH, "ssh"},
	} {
		if o.set && t != o.of {
			return &UnsupportedError{What: fmt.Sprintf("a %s option of a mount of type %v", o.name, t)}
		}
	}
	if t != pb.MountType_BIND && t != pb.MountType_CACHE && (pm.GetInput() >= 0 || pm.GetSelector() != "") {
		return &UnsupportedError{What: fmt.Sprintf("a mount of type %v with content", t)}
	}
	return nil
}

func sharing(s pb.CacheSharingOpt) (op.CacheSharing, error) {
	switch s {
	case pb.CacheSharingOpt_SHARED:
		return op.CacheShared, nil
	case pb.CacheSharingOpt_PRIVATE:
		return op.CachePrivate, nil
	case pb.CacheSharingOpt_LOCKED:
		return op.CacheLocked, nil
	}
	return 0, &UnsupportedError{What: fmt.Sprintf("cache sharing mode %v", s)}
}
