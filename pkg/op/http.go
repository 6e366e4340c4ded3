package op

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// HTTP is one file from a web server: ADD of a URL, or a context that is one.
type HTTP struct {
	URL string // http or https
	// Filename is the file's name in the result; "" leaves the choice to the server
	// and the URL.
	Filename string
	// Sum is the digest that the content must have; zero for any.
	Sum layer.Sum
	// Mode is in the encoding of chmod(2).
	Mode     uint16
	UID, GID uint32
	// Header are request headers by their canonical names.
	Header map[string]string
	// AuthHeaderSecret names the secret with the value of the Authorization header, in
	// place of those that are named after the host.
	AuthHeaderSecret string
}

// Download is a file that was fetched.
type Download struct {
	Name string
	Size int64 // bytes
	Sum  layer.Sum
	// ModTime is what the server says of its age; zero if it says nothing.
	ModTime time.Time
	Content layer.Content
}

// Downloads fetches files. It is safe for concurrent use.
type Downloads interface {
	// Download fetches the file, or makes sure that an earlier copy is still what the
	// server has. Within one build the same file is fetched once. An error that is
	// the server's or the network's is a [*SourceError].
	Download(ctx context.Context, h *HTTP) (*Download, error)
}

// SourceError is a failure to get at a source outside of registries: a URL or git repository.
type SourceError struct {
	Source string // without credentials
	// Passing says that it may be gone at another try.
	Passing bool
	Err     error
}

// Error implements error.
func (e *SourceError) Error() string { return fmt.Sprintf("fetching %s: %v", e.Source, e.Err) }

// Unwrap returns the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// Temporary reports whether the whole build is worth another try later.
func (e *SourceError) Temporary() bool { return e.Passing }

// RedactURL leaves out of a URL, or an address as "git@host:path", what can be a credential.
func RedactURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	switch {
	case u.User == nil:
	case u.Scheme == "ssh": // whose user is no secret
		u.User = url.User(u.User.Username())
	default:
		u.User = url.User("xxxxx")
	}
	if u.RawQuery != "" {
		u.RawQuery = "xxxxx"
	}
	return u.String()
}

// Key implements Op: the content, its name and what is said of it. Where it came from does not
// matter.
func (h *HTTP) Key(ctx context.Context, env *Env, _ []Input) (Key, error) {
	d, err := h.download(ctx, env)
	if err != nil {
		return Key{}, err
	}
	return newKey("http").str(d.Name).key(d.Sum).int(int64(h.Mode)).int(int64(h.UID)).int(int64(h.GID)).sum(), nil
}

// Run implements Op.
func (h *HTTP) Run(ctx context.Context, env *Env, _ []Input) ([]*tree.Tree, error) {
	d, err := h.download(ctx, env)
	if err != nil {
		return nil, err
	}
	modTime := d.ModTime
	if modTime.IsZero() {
		modTime = time.Unix(0, 0)
	}
	made, err := layer.New([]layer.File{{
		Entry: layer.Entry{
			Path: d.Name, Type: layer.Regular, Mode: h.Mode, UID: h.UID, GID: h.GID,
			ModTime: modTime.UTC(), Size: d.Size, Sum: d.Sum,
		},
		Content: d.Content,
	}})
	if err != nil {
		return nil, err
	}
	return []*tree.Tree{tree.New(made)}, nil
}

func (h *HTTP) download(ctx context.Context, env *Env) (*Download, error) {
	if env.Downloads == nil {
		return nil, fmt.Errorf("%s: this build has no way to fetch files", h.URL)
	}
	return env.Downloads.Download(ctx, h)
}

// ID names what is asked of the server: two downloads of equal ID have the same answer.
func (h *HTTP) ID() string {
	k := newKey("http request").str(h.URL).str(h.Filename).str(h.AuthHeaderSecret)
	for _, name := range slices.Sorted(maps.Keys(h.Header)) {
		k.str(name).str(h.Header[name])
	}
	return fmt.Sprintf("%x", k.sum())
}
