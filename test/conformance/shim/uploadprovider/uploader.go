// Package uploadprovider stands in for BuildKit's package of that name: tars that a client sends to
// the daemon, which slipway takes on standard input.
package uploadprovider

import (
	"io"
	"strconv"
	"sync"

	"google.golang.org/grpc"
)

// New gives an uploader without streams.
func New() *Uploader { return &Uploader{streams: map[string]io.ReadCloser{}} }

// Uploader has the streams that were added, each for one use.
type Uploader struct {
	mu      sync.Mutex
	streams map[string]io.ReadCloser
}

// Add takes a stream and returns the URL by which a build asks for it.
func (u *Uploader) Add(r io.ReadCloser) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	url := "http://buildkit-session/" + strconv.Itoa(len(u.streams))
	u.streams[url] = r
	return url
}

// Take gives the stream of a URL, and false if there is none or it was taken.
func (u *Uploader) Take(url string) (io.ReadCloser, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r, ok := u.streams[url]
	u.streams[url] = nil
	return r, ok && r != nil
}

// Register makes Uploader a session.Attachable; there is no session to serve.
func (u *Uploader) Register(*grpc.Server) {}
