package frontend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/moby/buildkit/client/llb"
	gw "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher"
	fstypes "github.com/tonistiigi/fsutil/types"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/tree"
)

// maxRead is the most that one call reads into memory, in bytes. The frontend asks for one
// byte more than 16 MiB, to find out what is too large.
const maxRead = 16<<20 + 1

// reference is a place in the build graph whose files the frontend can look at. It is solved
// when it is first looked at.
type reference struct {
	build      *build
	edge       op.Edge
	definition *pb.Definition // which edge is the end of
}

var _ gw.Reference = (*reference)(nil)

func (r *reference) view(ctx context.Context) (*tree.View, error) {
	r.build.noteEdge(r.edge)
	t, err := r.build.solver.Solve(ctx, r.edge)
	if err != nil {
		return nil, op.Locate(err, r.edge.Vertex.Locations)
	}
	return t.View(ctx)
}

// ToState implements gw.Reference. The Dockerfile frontend never calls it.
func (r *reference) ToState() (llb.State, error) {
	return llb.State{}, errors.New("the frontend asked for the graph of a result")
}

// Evaluate implements gw.Reference.
func (r *reference) Evaluate(ctx context.Context) error {
	_, err := r.build.solver.Solve(ctx, r.edge)
	return op.Locate(err, r.edge.Vertex.Locations)
}

// ReadFile implements gw.Reference.
func (r *reference) ReadFile(ctx context.Context, req gw.ReadRequest) ([]byte, error) {
	data, err := r.readFile(ctx, req)
	switch {
	case err == nil:
		r.build.noteFile(req.Filename, data)
	case !errors.Is(err, fs.ErrNotExist):
		r.build.noteFault(fmt.Errorf("reading %s: %w", req.Filename, err))
	}
	return data, err
}

func (r *reference) readFile(ctx context.Context, req gw.ReadRequest) (_ []byte, err error) {
	offset, length := int64(0), int64(maxRead)
	if req.Range != nil {
		offset, length = int64(req.Range.Offset), int64(req.Range.Length)
	}
	if offset < 0 || length < 0 {
		return nil, fmt.Errorf("range %d+%d: %w", offset, length, fs.ErrInvalid)
	}
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	n, err := v.Lookup(req.Filename)
	if err != nil {
		return nil, err
	}
	if n.Entry().Type != layer.Regular {
		return nil, fmt.Errorf("%s is not a regular file: %w", req.Filename, fs.ErrInvalid)
	}
	// What is asked for can be more than the file has. What is in the file can be more
	// than should ever be in memory.
	length = min(length, max(n.Entry().Size-offset, 0))
	if length > maxRead || req.Range == nil && n.Entry().Size >= maxRead {
		return nil, fmt.Errorf("%s is too large: %d bytes", req.Filename, n.Entry().Size)
	}
	f, err := n.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.CopyN(io.Discard, f, min(offset, n.Entry().Size)); err != nil {
		return nil, err
	}
	data := make([]byte, length)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, err
	}
	return data, nil
}

// StatFile implements gw.Reference. Links are followed.
func (r *reference) StatFile(ctx context.Context, req gw.StatRequest) (*fstypes.Stat, error) {
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	n, err := v.Lookup(req.Path)
	if err != nil {
		return nil, err
	}
	return stat(n), nil
}

// ReadDir implements gw.Reference: the entries of a directory, sorted by name.
func (r *reference) ReadDir(ctx context.Context, req gw.ReadDirRequest) ([]*fstypes.Stat, error) {
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := v.Lookup(req.Path)
	if err != nil {
		return nil, err
	}
	if !dir.IsDir() {
		return nil, fmt.Errorf("%s is not a directory: %w", req.Path, fs.ErrInvalid)
	}
	include := func(string) (bool, error) { return true, nil }
	if req.IncludePattern != "" {
		m, err := patternmatcher.New([]string{req.IncludePattern})
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", req.IncludePattern, err)
		}
		include = m.MatchesOrParentMatches
	}
	var out []*fstypes.Stat
	for n := range dir.Children() {
		ok, err := include(n.Name())
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", req.IncludePattern, err)
		}
		if ok {
			out = append(out, stat(n))
		}
	}
	return out, nil
}

// stat describes a node in the terms of BuildKit: Path is the base name, Mode that of io/fs.
func stat(n *tree.Node) *fstypes.Stat {
	e := n.Entry()
	s := &fstypes.Stat{
		Path: n.Name(),
		Mode: uint32(fsMode(e)),
		Uid:  e.UID, Gid: e.GID,
		Size:     e.Size,
		ModTime:  e.ModTime.UnixNano(),
		Devmajor: int64(e.Major), Devminor: int64(e.Minor),
	}
	if e.Type == layer.Symlink {
		s.Linkname = e.Link
	}
	for name, value := range e.Xattrs {
		if s.Xattrs == nil {
			s.Xattrs = map[string][]byte{}
		}
		s.Xattrs[name] = []byte(value)
	}
	return s
}

// fsMode converts the mode of an entry, which is that of chmod(2), to that of io/fs.
func fsMode(e *layer.Entry) fs.FileMode {
	mode := fs.FileMode(e.Mode) & fs.ModePerm
	for _, bit := range []struct {
		unix uint16
		mode fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if e.Mode&bit.unix != 0 {
			mode |= bit.mode
		}
	}
	switch e.Type {
	case layer.Directory:
		mode |= fs.ModeDir
	case layer.Symlink:
		mode |= fs.ModeSymlink
	case layer.CharDevice:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case layer.BlockDevice:
		mode |= fs.ModeDevice
	case layer.Fifo:
		mode |= fs.ModeNamedPipe
	}
	return mode
}
