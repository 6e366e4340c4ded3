package build

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/op"
)

// contextKind is where the build context comes from.
type contextKind uint8

const (
	contextDirectory contextKind = iota
	contextRemote                // a URL or git repository, which the frontend understands
	contextTar                   // an archive on this machine
	contextStdin                 // an archive or Dockerfile on standard input
)

// tarScheme is how a context that is an archive on this machine is written.
const tarScheme = "tar://"

// The URLs that stand for archives of this machine: to the frontend they are contexts from a web
// server, as they are in docker build. No server has such a name.
const (
	stdinURL = "http://standard-input.invalid/context"
	tarURL   = "http://archive.invalid/context"
)

// contextKind says what Context is. A directory of that name comes first, as in docker build.
func (o *Options) contextKind() contextKind {
	switch {
	case o.Context == "-":
		return contextStdin
	case strings.HasPrefix(o.Context, tarScheme):
		return contextTar
	}
	if _, err := os.Stat(o.Context); err != nil && frontend.IsRemoteContext(o.Context) {
		return contextRemote
	}
	return contextDirectory
}

// source is where the frontend finds context and Dockerfile, and where the executor finds what the
// frontend asks for.
type source struct {
	locals     map[string]string // local sources: name to directory
	archives   map[string]string // files of this machine by the URL that stands for them
	extra      map[string]string // options of the frontend
	dockerfile string            // name in its directory or in the context
}

// source opens the context and finds the Dockerfile. tempDir makes directories that live as long as the
// build.
func (o *Options) source(kind contextKind, tempDir func() (string, error)) (*source, error) {
	if kind == contextDirectory {
		dir, name, err := o.dockerfile(tempDir)
		if err != nil {
			return nil, err
		}
		return &source{locals: map[string]string{"context": o.Context, "dockerfile": dir}, dockerfile: name}, nil
	}
	s := &source{locals: map[string]string{}, archives: map[string]string{}, extra: map[string]string{}}
	if err := s.subPath(o.ContextSubPath); err != nil {
		return nil, err
	}
	switch kind {
	case contextRemote:
		s.extra["context"] = o.Context
	case contextTar:
		path := strings.TrimPrefix(o.Context, tarScheme)
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return nil, fmt.Errorf("build context: %w", errors.Join(err, fmt.Errorf("%s is not an archive", path)))
		}
		s.extra["context"], s.archives[tarURL] = tarURL, path
	case contextStdin:
		if dockerfile, err := s.stdin(o, tempDir); err != nil || dockerfile {
			return s, err
		}
	}
	return s, s.remoteDockerfile(o, tempDir)
}

func (s *source) subPath(sub string) error {
	local := strings.TrimLeft(sub, "/")
	if local == "" {
		return nil
	}
	if !filepath.IsLocal(local) {
		return fmt.Errorf("build context: %s is not below the context", sub)
	}
	s.extra["contextsubdir"] = local
	return nil
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
	in := bufio.NewReaderSize(o.Stdin, 1024)
	head, err := in.Peek(1024)
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("reading the build context from standard input: %w", err)
	}
	if !frontend.IsArchive(head) {
		return true, s.stdinDockerfile(o, in, tempDir)
	}
	dir, err := tempDir()
	if err != nil {
		return false, err
	}
	path := filepath.Join(dir, "context")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Close()); err != nil {
		return false, fmt.Errorf("reading the build context from standard input: %w", err)
	}
	s.extra["context"], s.archives[stdinURL] = stdinURL, path
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
	delete(s.extra, "contextsubdir")
	s.locals["context"], s.locals["dockerfile"], s.dockerfile = empty, dir, name
	return nil
}

// remoteDockerfile finds the Dockerfile of a context that is not a directory: in the context, unless
// it comes from standard input or has an absolute path, as in docker build.
func (s *source) remoteDockerfile(o *Options, tempDir func() (string, error)) (err error) {
	s.dockerfile = o.Dockerfile
	switch {
	case o.Dockerfile == "-":
		s.locals["dockerfile"], s.dockerfile, err = dockerfileFrom(o.Stdin, tempDir)
	case filepath.IsAbs(o.Dockerfile):
		if info, err := os.Stat(o.Dockerfile); err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("dockerfile: %w", errors.Join(err, fmt.Errorf("%s is not a regular file", o.Dockerfile)))
		}
		s.locals["dockerfile"], s.dockerfile = filepath.Dir(o.Dockerfile), filepath.Base(o.Dockerfile)
	default:
		return nil
	}
	s.extra["dockerfilekey"] = "dockerfile"
	return err
}

// fetchDockerfile fetches a Dockerfile that is given by its URL.
func (s *session) fetchDockerfile(ctx context.Context) error {
	if !strings.HasPrefix(s.Dockerfile, "https://") && !strings.HasPrefix(s.Dockerfile, "http://") {
		return nil
	}
	d, err := s.downloads(nil).Download(ctx, &op.HTTP{URL: s.Dockerfile})
	if err != nil {
		return fmt.Errorf("dockerfile: %w", err)
	}
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
