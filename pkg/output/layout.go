package output

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"sync"

	"crypto/rand"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-build/slipway/pkg/image"
)

// Layout writes an OCI layout directory, or adds to one. An image that the layout has under one of
// the names loses the name; its blobs stay.
type Layout struct {
	dest  string
	names []layoutName
}

// NewLayout returns the output for the directory dest.
func NewLayout(dest string, names []string) (*Layout, error) {
	parsed, err := layoutNames(names)
	if err != nil {
		return nil, err
	}
	return &Layout{dest: dest, names: parsed}, nil
}

// String implements Output.
func (l *Layout) String() string { return "writing oci layout " + l.dest }

// Prepare implements Output: it writes the blobs, which nothing refers to yet.
func (l *Layout) Prepare(ctx context.Context, b *image.Built) (_ Pending, err error) {
	made, err := makeDirs(l.dest)
	if err != nil {
		return nil, err
	}
	p := &pendingLayout{Layout: l, built: b, made: made}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Abort())
		}
	}()
	if p.root, err = os.OpenRoot(l.dest); err != nil {
		return nil, err
	}
	if _, err := p.readIndex(); err != nil {
		return nil, err
	}
	list, err := contents(b)
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, c := range list {
		g.Go(func() error { return p.addBlob(ctx, c) })
	}
	return p, g.Wait()
}

type pendingLayout struct {
	*Layout
	built *image.Built
	root  *os.Root
	made  []string // directories

	mu    sync.Mutex
	wrote []string // files
}

// addBlob writes a blob, unless it is there.
func (p *pendingLayout) addBlob(ctx context.Context, c content) error {
	name := blobPath(c.desc.Digest)
	if info, err := p.root.Stat(name); err == nil && info.Mode().IsRegular() && info.Size() == c.desc.Size {
		return nil
	}
	if err := p.root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return err
	}
	if err := p.write(name, func(w io.Writer) error { return c.copyTo(ctx, w) }); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wrote = append(p.wrote, name)
	return nil
}

// write makes a file appear complete or not at all.
func (p *pendingLayout) write(name string, write func(io.Writer) error) error {
	tmp := path.Join(path.Dir(name), ".slipway-"+rand.Text())
	f, err := p.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = p.root.Rename(tmp, name)
	}
	if err != nil {
		return errors.Join(err, p.root.Remove(tmp))
	}
	return nil
}

// readIndex returns the layout's index.json; it is empty where there is none yet.
func (p *pendingLayout) readIndex() (map[string]json.RawMessage, error) {
	raw, err := p.root.ReadFile("index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]json.RawMessage{}, nil
	}
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("the existing index.json is damaged: %w", err)
	}
	return fields, nil
}

// Commit implements Pending: it names the image in index.json.
func (p *pendingLayout) Commit(context.Context) (*Result, error) {
	index, err := p.newIndex()
	if err == nil {
		err = p.write("oci-layout", func(w io.Writer) error { _, err := io.WriteString(w, layoutFile); return err })
	}
	if err == nil {
		err = p.write("index.json", func(w io.Writer) error { _, err := w.Write(index); return err })
	}
	if err != nil {
		return nil, errors.Join(err, p.Abort())
	}
	return &Result{Path: p.dest}, p.root.Close()
}

// newIndex is the existing index.json with our image in it. Fields and images that we do not know
// pass through as they are.
func (p *pendingLayout) newIndex() ([]byte, error) {
	fields, err := p.readIndex()
	if err != nil {
		return nil, err
	}
	own := descriptors(p.built, p.names)
	if len(fields) == 0 {
		return indexJSON(own)
	}
	var old, kept []json.RawMessage
	if raw, ok := fields["manifests"]; ok {
		if err := json.Unmarshal(raw, &old); err != nil {
			return nil, fmt.Errorf("the existing index.json is damaged: %w", err)
		}
	}
	for _, raw := range old {
		var d v1.Descriptor
		if err := json.Unmarshal(raw, &d); err != nil {
			return nil, fmt.Errorf("the existing index.json is damaged: %w", err)
		}
		if !p.replaces(d) {
			kept = append(kept, raw)
		}
	}
	for _, d := range own {
		raw, err := json.Marshal(d)
		if err != nil {
			return nil, err
		}
		kept = append(kept, raw)
	}
	if fields["manifests"], err = json.Marshal(kept); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}

// replaces reports whether an entry gives way to ours: it has one of our names, or it is the same
// image without a name.
func (p *pendingLayout) replaces(d v1.Descriptor) bool {
	tag, full := d.Annotations[refNameAnnotation], d.Annotations[imageNameAnnotation]
	if tag == "" && full == "" {
		return d.Digest == p.built.Digest()
	}
	for _, n := range p.names {
		if full == n.full || (full == "" && tag == n.tag) {
			return true
		}
	}
	return false
}

// Abort implements Pending.
func (p *pendingLayout) Abort() error {
	if p.root == nil {
		return removeDirs(p.made)
	}
	var errs []error
	for _, name := range p.wrote {
		errs = append(errs, p.root.Remove(name))
	}
	if len(p.made) > 0 { // the layout is ours alone
		for _, name := range []string{"oci-layout", "blobs/sha256", "blobs"} {
			if err := p.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, p.root.Close(), removeDirs(p.made))...)
}
