package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/bucket"
	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/provenance"
)

// contextKind is where the build context comes from.
type contextKind uint8

const (
	contextDirectory contextKind = iota
	contextRemote                // a URL or git repository, which the frontend understands
	contextGit                   // a git repository in Kaniko's form
	contextTar                   // an archive on this machine
	contextBucket                // an archive in a bucket
	contextStdin                 // an archive or Dockerfile on standard input
)

// Beginnings of contexts, as Kaniko has them, and how it writes standard input.
const (
	dirScheme = "dir://"
	tarScheme = "tar://"
	gitScheme = "git://"
	tarStdin  = tarScheme + "stdin"
)

// contextKind says what Context is. A directory of that name comes before what is elsewhere, as in docker
// build.
func (o *Options) contextKind() contextKind {
	switch {
	case o.Context == "-", o.Context == tarStdin:
		return contextStdin
	case strings.HasPrefix(o.Context, tarScheme):
		return contextTar
	}
	if _, err := os.Stat(o.Context); err == nil {
		return contextDirectory
	}
	scheme, _, _ := strings.Cut(o.Context, "://")
	switch {
	case slices.Contains(bucket.Schemes(), scheme), azureContext(o.Context) != nil:
		return contextBucket
	case strings.HasPrefix(o.Context, gitScheme):
		return contextGit
	case frontend.IsRemoteContext(o.Context):
		return contextRemote
	}
	return contextDirectory
}

// checkScheme refuses what looks like a URL and is none that is known.
func (o *Options) checkScheme() error {
	scheme, _, isURL := strings.Cut(o.Context, "://")
	if !isURL {
		return nil
	}
	meant, ok := map[string]string{
		"file": "a directory is dir://PATH, an archive tar://PATH", "gcs": "Google's buckets are gs://BUCKET/OBJECT",
		"s3a": "S3's buckets are s3://BUCKET/OBJECT", "azure": "Azure's containers are azblob://CONTAINER/OBJECT",
		"docker-image": "images are named contexts, --build-context NAME=docker-image://…",
		"oci-layout":   "images are named contexts, --build-context NAME=oci-layout://…",
	}[strings.ToLower(scheme)]
	if !ok {
		meant = "there are dir, tar, git, ssh, http, https and " + strings.Join(bucket.Schemes(), ", ")
	}
	return fmt.Errorf("build context: contexts of kind %s:// are not supported: %s", scheme, meant)
}

// source is where the frontend finds context and Dockerfile, and where the executor finds what the
// frontend asks for.
type source struct {
	locals     map[string]op.Files // local sources by name
	extra      map[string]string   // options of the frontend
	dockerfile string              // name in its directory or in the context
	// archive is the context, if it is an archive that is not read yet.
	archive *contextArchive
}

// contextSubdir is the frontend's option for ContextSubPath in contexts that it fetches.
const contextSubdir = "contextsubdir"

// source opens the context, unless it is an archive, and finds the Dockerfile. tempDir makes directories that
// live as long as the build.
func (o *Options) source(kind contextKind, tempDir func() (string, error)) (*source, error) {
	if kind == contextDirectory {
		dir, name, err := o.dockerfile(tempDir)
		if err != nil {
			return nil, err
		}
		return &source{locals: map[string]op.Files{"context": op.Directory(o.Context), "dockerfile": op.Directory(dir)}, dockerfile: name}, nil
	}
	s := &source{locals: map[string]op.Files{}, extra: map[string]string{}}
	sub, err := subPath(o.ContextSubPath)
	if err != nil {
		return nil, err
	}
	switch kind {
	case contextRemote:
		s.extra["context"] = o.Context
	case contextTar:
		s.archive, err = tarArchive(strings.TrimPrefix(o.Context, tarScheme))
	case contextBucket:
		s.archive, err = bucketArchive(o.Context)
	case contextStdin:
		dockerfile := false
		if dockerfile, err = s.stdin(o, tempDir); dockerfile {
			return s, err
		}
	}
	if err != nil {
		return nil, err
	}
	if s.archive != nil {
		s.archive.sub = sub
	} else if sub != "" {
		s.extra[contextSubdir] = sub
	}
	return s, s.remoteDockerfile(o, tempDir)
}

// subPath is the directory of ContextSubPath, "" for the whole context.
func subPath(sub string) (string, error) {
	local := strings.TrimLeft(sub, "/")
	if local != "" && !filepath.IsLocal(local) {
		return "", fmt.Errorf("build context: %s is not below the context", sub)
	}
	return local, nil
}

// stdin takes the context from standard input: an archive with everything, or, as in docker build, a
// Dockerfile that needs no context.
func (s *source) stdin(o *Options, tempDir func() (string, error)) (dockerfile bool, err error) {
	if o.Dockerfile == "-" {
		return false, errors.New("context and Dockerfile can't both come from standard input")
	}
	if o.Stdin == nil {
		return false, errors.New("the build context should come from standard input, and there is none")
	}
	if isTerminal(o.Stdin) {
		return false, errors.New("the build context should come from standard input, which is a terminal")
	}
	in := bufio.NewReaderSize(o.Stdin, 1024)
	head, err := in.Peek(1024)
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("reading the build context from standard input: %w", err)
	}
	if o.Context != tarStdin && !frontend.IsArchive(head) {
		return true, s.stdinDockerfile(o, in, tempDir)
	}
	s.archive = stdinArchive(in)
	return false, nil
}

func (s *source) stdinDockerfile(o *Options, in io.Reader, tempDir func() (string, error)) error {
	if o.Dockerfile != "" {
		return errors.New("standard input is a Dockerfile, not an archive, and --file names another one")
	}
	dir, name, err := dockerfileFrom(in, tempDir)
	if err != nil {
		return err
	}
	empty, err := tempDir()
	if err != nil {
		return err
	}
	s.locals["context"], s.locals["dockerfile"], s.dockerfile = op.Directory(empty), op.Directory(dir), name
	return nil
}

// remoteDockerfile finds the Dockerfile of a context that is not a directory: in the context, unless
// it comes from standard input or has an absolute path, as in docker build.
func (s *source) remoteDockerfile(o *Options, tempDir func() (string, error)) error {
	s.dockerfile = o.Dockerfile
	switch {
	case o.Dockerfile == "-":
		dir, name, err := dockerfileFrom(o.Stdin, tempDir)
		if err != nil {
			return err
		}
		s.locals["dockerfile"], s.dockerfile = op.Directory(dir), name
	case filepath.IsAbs(o.Dockerfile):
		if info, err := os.Stat(o.Dockerfile); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("dockerfile: %w", errors.Join(err, fmt.Errorf("%s is not a regular file", o.Dockerfile)))
		}
		s.locals["dockerfile"], s.dockerfile = op.Directory(filepath.Dir(o.Dockerfile)), filepath.Base(o.Dockerfile)
	default:
		return nil
	}
	s.extra["dockerfilekey"] = "dockerfile"
	return nil
}

// useArchive makes an archive the context, and gives the names of the local sources that it becomes. As in directories, a
// Dockerfile that is named is looked for in the whole archive first, and the usual one below ContextSubPath.
func (s *source) useArchive(whole *op.Archive) (named []string, err error) {
	context := whole
	if s.archive.sub != "" {
		if context, err = whole.Sub(s.archive.sub); err != nil {
			return nil, err
		}
	}
	delete(s.extra, "context")
	delete(s.extra, contextSubdir)
	s.locals["context"] = context
	named = []string{"context"}
	if s.locals["dockerfile"] != nil {
		return named, nil
	}
	places := []*op.Archive{whole, context}
	if s.dockerfile == "" {
		slices.Reverse(places)
	}
	name := path.Clean(s.dockerfile)
	if s.dockerfile == "" {
		name = "Dockerfile"
	}
	found := slices.IndexFunc(places, func(a *op.Archive) bool { return a.HasFile(name) })
	if found < 0 {
		return nil, fmt.Errorf("the archive has no file %s", name)
	}
	s.locals["dockerfile"], s.dockerfile = places[found], name
	return append(named, "dockerfile"), nil
}

// fetchDockerfile fetches a Dockerfile that is given by its URL.
func (s *session) fetchDockerfile(ctx context.Context) error {
	if !strings.HasPrefix(s.Dockerfile, "https://") && !strings.HasPrefix(s.Dockerfile, "http://") {
		return nil
	}
	h, err := s.allowed(ctx, s.Dockerfile)
	if err != nil {
		return fmt.Errorf("dockerfile: %w", err)
	}
	d, err := s.downloads().Download(ctx, h)
	if err != nil {
		return fmt.Errorf("dockerfile: %w", err)
	}
	s.contextFiles = append(s.contextFiles, provenance.File{URL: h.URL, Sum: d.Sum, Locals: []string{"dockerfile"}})
	content, err := d.Content.Open(ctx)
	if err != nil {
		return fmt.Errorf("dockerfile: %w", err)
	}
	dir, name, err := dockerfileFrom(content, func() (string, error) { return s.state.TempDir("dockerfile-") })
	if err = errors.Join(err, content.Close()); err != nil {
		return err
	}
	s.Dockerfile = filepath.Join(dir, name)
	return nil
}

// allowed is the download of a URL that the frontend does not ask for, as the source policy allows it.
func (s *session) allowed(ctx context.Context, address string) (*op.HTTP, error) {
	got, err := s.sources.Decide(ctx, policy.Source{Identifier: address})
	if err != nil {
		return nil, err
	}
	return frontend.HTTP(got)
}
