package client

import (
	"context"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/tonistiigi/fsutil"
	"google.golang.org/grpc"

	"github.com/slipway-build/slipway/test/conformance/shim/integration"
)

// Dialer gives one that connects a session of the tests' own with this client.
func (c *Client) Dialer() session.Dialer {
	return func(ctx context.Context, _ string, meta map[string][]string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			// It ends with an error when the session does.
			_ = c.sessions.HandleConn(ctx, ours, meta)
		}()
		return theirs, nil
	}
}

// withSessions fetches directories that sessions offer, as a daemon would.
func (c *Client) withSessions(ctx context.Context, dir string, opt SolveOpt) (SolveOpt, error) {
	const prefix = "local-sessionid:"
	attrs, mounts := maps.Clone(opt.FrontendAttrs), maps.Clone(opt.LocalMounts)
	for key, id := range opt.FrontendAttrs {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok {
			continue
		}
		delete(attrs, key)
		caller, err := c.sessions.Get(ctx, id, false)
		if err != nil {
			return opt, err
		}
		to := filepath.Join(dir, "session-"+name)
		if err := os.Mkdir(to, 0o755); err != nil {
			return opt, err
		}
		if err := filesync.FSSync(ctx, caller, filesync.FSSendRequestOpt{Name: name, DestDir: to}); err != nil {
			return opt, err
		}
		mount, err := fsutil.NewFS(to)
		if err != nil {
			return opt, err
		}
		if mounts == nil {
			mounts = map[string]fsutil.FS{}
		}
		mounts[name] = &integration.TmpDirWithName{FS: mount, Name: to}
	}
	opt.FrontendAttrs, opt.LocalMounts = attrs, mounts
	return opt, nil
}

// Prune removes the state directory.
func (c *Client) Prune(_ context.Context, ch chan UsageInfo, _ ...PruneOption) error {
	return os.RemoveAll(c.stateDir())
}

// DiskUsage has the files of the state directory. None is in use, as no build runs.
func (c *Client) DiskUsage(context.Context, ...DiskUsageOption) ([]*UsageInfo, error) {
	var all []*UsageInfo
	err := filepath.WalkDir(c.stateDir(), func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if os.IsNotExist(err) {
			return nil // temporary
		}
		if err != nil {
			return err
		}
		all = append(all, &UsageInfo{ID: path, Size: info.Size()})
		return nil
	})
	return all, err
}

// ControlClient gives a client that knows of no builds before; its other calls fail, as there is no daemon.
func (c *Client) ControlClient() controlapi.ControlClient {
	return noHistory{controlapi.NewControlClient(noDaemon{})}
}

// noHistory is the history of builds that nobody keeps.
type noHistory struct{ controlapi.ControlClient }

// ListenBuildHistory gives an empty list.
func (noHistory) ListenBuildHistory(context.Context, *controlapi.BuildHistoryRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[controlapi.BuildHistoryEvent], error) {
	return noEvents{}, nil
}

// noEvents is a stream at its end.
type noEvents struct{ grpc.ClientStream }

// Recv gives nothing.
func (noEvents) Recv() (*controlapi.BuildHistoryEvent, error) { return nil, io.EOF }
