package build

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/bucket"
	"github.com/slipway-build/slipway/pkg/download"
	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/provenance"
	"github.com/slipway-build/slipway/pkg/registry"
)

// contextArchive is a build context that is an archive.
type contextArchive struct {
	name string // for the user, without credentials
	sub  string // the directory in it that is the context, "" for all of it
	open func(context.Context) (io.ReadCloser, error)
	// remote is an archive elsewhere, as a source policy knows it; without an identifier one of this machine.
	remote policy.Source
	// perhaps says that it may also be something else, which the frontend understands.
	perhaps bool
	// modTime is how old it is by what gave it, known when it is open; zero if that says nothing. counted says that what
	// breaks off gives an error.
	modTime time.Time
	counted bool
	sum     layer.Sum // of all its bytes, known when it is read
}

// errNoArchive says that something that might have been an archive is none.
var errNoArchive = errors.New("it is no archive")

// contextObject is the name of a context in a bucket where the URL has none, as in Kaniko.
const contextObject = "context.tar.gz"

func tarArchive(path string) (*contextArchive, error) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("build context: %w", errors.Join(err, fmt.Errorf("%s is not an archive", path)))
	}
	return &contextArchive{name: path, open: func(context.Context) (io.ReadCloser, error) { return os.Open(path) }}, nil
}

func stdinArchive(in *bufio.Reader) *contextArchive {
	return &contextArchive{name: "standard input", open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(in), nil }}
}

// isTerminal reports whether r is one.
func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// azureContext is the URL of a container for a context that Azure's web servers have, if there are credentials for
// them; else it is a file from the web like others.
func azureContext(address string) *url.URL {
	if !bucket.HasAzureCredentials(os.Getenv) {
		return nil
	}
	return bucket.AzureObject(address)
}

func bucketArchive(address string) (*contextArchive, error) {
	u, remote := azureContext(address), address
	if u == nil {
		var err error
		if u, err = url.Parse(address); err != nil { // it quotes the URL, and with it what may be secret
			return nil, errors.New("build context: what is given for it is not a URL")
		}
		remote = bucket.Place(u)
	}
	object := strings.TrimPrefix(u.Path, "/")
	if object == "" || strings.HasSuffix(object, "/") {
		object += contextObject
	}
	if u.Host == "" {
		return nil, fmt.Errorf("build context: %s names no bucket", remote)
	}
	if u.User != nil || u.Fragment != "" {
		return nil, fmt.Errorf("build context: %s://… has neither a user nor a fragment", u.Scheme)
	}
	name := bucket.Place(&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/" + object})
	return &contextArchive{
		name: name, remote: policy.Source{Identifier: remote},
		open: func(ctx context.Context) (io.ReadCloser, error) { return bucket.OpenObject(ctx, u, object) },
	}, nil
}

// webArchive is what a URL names, which may be an archive.
func webArchive(source policy.Source, from *download.Client) *contextArchive {
	a := &contextArchive{name: op.RedactURL(source.Identifier), remote: source, perhaps: true}
	a.open = func(ctx context.Context) (io.ReadCloser, error) {
		s, err := from.Open(ctx, &op.HTTP{URL: source.Identifier})
		if err != nil {
			return nil, err
		}
		a.modTime, a.counted = s.ModTime, s.Counted
		return s, nil
	}
	return a
}

func (a *contextArchive) isRemote() bool { return a.remote.Identifier != "" }

// decide asks the source policy about an archive that is elsewhere. The policy may name another one. It is nil where the
// frontend has to do what the policy says.
func (a *contextArchive) decide(ctx context.Context, sources *policy.Sources) (*contextArchive, error) {
	if !a.isRemote() {
		return a, nil // the frontend asks about the local source that it becomes
	}
	got, err := sources.Decide(ctx, a.remote)
	switch {
	case err != nil:
		return nil, err
	case got.Identifier == a.remote.Identifier && maps.Equal(got.Attrs, a.remote.Attrs):
		return a, nil
	case a.perhaps:
		return nil, nil
	}
	other := &Options{Context: got.Identifier}
	if other.contextKind() != contextBucket {
		return nil, fmt.Errorf("build context: the source policy replaces %s by %s, which is not in a bucket", a.remote.Identifier, op.RedactURL(got.Identifier))
	}
	b, err := bucketArchive(got.Identifier)
	if err != nil {
		return nil, err
	}
	b.sub = a.sub
	return b, nil
}

// readArchive reads the archive while it comes; nil if it is none. One that breaks off on the way is read once more.
func (s *session) readArchive(ctx context.Context, a *contextArchive) (read *op.Archive, err error) {
	err = s.display.Step(ctx, "[internal] read build context from "+a.name, func(ctx context.Context, log io.Writer) error {
		var failed error
		err := s.client.Repeat(ctx, func() error {
			var broken error
			read, broken, failed = s.readOnce(ctx, a)
			if !a.isRemote() {
				return nil
			}
			return broken
		})
		if failed != nil {
			err = failed
		}
		switch {
		case errors.Is(err, errNoArchive):
			_, err = fmt.Fprintln(log, "no archive: taken for a Dockerfile")
			return err
		case err != nil:
			return a.failed(ctx, err)
		}
		_, err = fmt.Fprintf(log, "%d files and directories\n", read.Len())
		return err
	})
	return read, err
}

// readOnce reads the archive; broken is set if that failed because what should give it did not, after it had begun.
func (s *session) readOnce(ctx context.Context, a *contextArchive) (read *op.Archive, broken, err error) {
	r, err := a.open(ctx)
	if err != nil {
		return nil, nil, &originError{err}
	}
	w, hash := &watched{r: r}, sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(w, hash), 1024)
	if a.perhaps {
		err = checkArchive(in)
	}
	if err == nil {
		read, err = op.ReadArchive(ctx, in, s.state, s.now, func() bool { return a.counted })
	}
	if err == nil { // what is behind an archive is no part of it, but of its digest
		_, err = io.Copy(io.Discard, in)
		a.sum = layer.Sum(hash.Sum(nil))
	}
	if broken = w.failure(); broken != nil {
		err = &originError{broken}
	}
	return read, broken, errors.Join(err, r.Close())
}

// checkArchive gives errNoArchive for what is none by the frontend's rules.
func checkArchive(in *bufio.Reader) error {
	head, err := in.Peek(1024)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !frontend.IsArchive(head) {
		return errNoArchive
	}
	return nil
}

// watched remembers the error of the reader that it wraps. Decompressors read in goroutines of their own.
type watched struct {
	r   io.Reader
	mu  sync.Mutex
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.mu.Lock()
		w.err = err
		w.mu.Unlock()
	}
	return n, err
}

func (w *watched) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// originError is an error of what an archive comes from, and not of what is in it.
type originError struct{ err error }

func (e *originError) Error() string { return e.err.Error() }
func (e *originError) Unwrap() error { return e.err }

// failed says of which context err is, and what to do.
func (a *contextArchive) failed(ctx context.Context, err error) error {
	var (
		origin *originError
		source *op.SourceError
	)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &source):
		return fmt.Errorf("build context: %w", source)
	case !a.isRemote() || !errors.As(err, &origin):
		return fmt.Errorf("build context %s: %w", a.name, err)
	}
	status := bucket.Status(err)
	e := &op.SourceError{Source: a.name, Passing: registry.PassingStatus(status) || status == 0 && registry.Passing(origin.err)}
	switch err = bucket.Redacted(err); {
	case bucket.IsMissing(err):
		e.Passing, e.Err = false, fmt.Errorf("there is no such object: %w", err)
	case bucket.IsForbidden(err):
		e.Passing, e.Err = false, fmt.Errorf("the credentials for it are missing or do not suffice (S3 says the same of objects that are not there, without the right to list): %w", err)
	default:
		e.Err = err
	}
	return fmt.Errorf("build context: %w", e)
}

// loadArchive reads the context, if it is an archive, once the source policy allows it.
func (s *session) loadArchive(ctx context.Context, from *source) error {
	if from.archive == nil {
		return nil
	}
	a, err := from.archive.decide(ctx, s.plan.frontend.Sources)
	if err != nil || a == nil {
		return err
	}
	read, err := s.readArchive(ctx, a)
	if err != nil || read == nil {
		return err
	}
	from.archive = a
	locals, err := from.useArchive(read)
	if err != nil {
		return &UsageError{fmt.Errorf("build context %s: %w", a.name, err)}
	}
	if a.isRemote() {
		s.contextFiles = append(s.contextFiles, provenance.File{URL: a.remote.Identifier, Sum: a.sum, Locals: locals})
		for _, l := range locals {
			s.plan.frontend.Sources = s.plan.frontend.Sources.Settled("local://" + l)
		}
	}
	// What "context" stands for the frontend only finds out about contexts that it fetches itself.
	age := a.modTime
	if age.IsZero() {
		age = read.Newest()
	}
	if s.plan.frontend.BuildArgs[epochArg] == "context" && !age.IsZero() {
		s.plan.frontend.BuildArgs[epochArg] = strconv.FormatInt(age.Unix(), 10)
	}
	return nil
}

// epochArg is the build argument that says how old an image is.
const epochArg = "SOURCE_DATE_EPOCH"
