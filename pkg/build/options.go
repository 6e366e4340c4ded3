// Package build runs one build from the options to the written results. It only connects the other
// packages; what they do is theirs.
package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/secret"
	"github.com/slipway-build/slipway/pkg/sign"
)

// Options say what to build and where it goes. The strings are those of the command line flags
// of the same name; docs/build.md describes each.
type Options struct {
	// Context is a directory, a URL, a git repository, "tar://PATH", an object in a bucket, or "-" for Stdin.
	Context string
	Git     GitOptions
	// ContextSubPath is the directory below Context that is the build context, "" for all of it.
	ContextSubPath string
	wholeContext   string // Context before ContextSubPath was appended
	Dockerfile     string // path, "" for the context's own, "-" for Stdin
	BuildArgs      map[string]string
	BuildContexts  map[string]string
	// Inputs are build graphs in LLB, marshalled, that named contexts "input:NAME" stand for; those called
	// "context" and "dockerfile" take the place of Context and Dockerfile. No flag gives them.
	Inputs map[string][]byte
	Target string
	// FurtherTargets are built as well, and are no part of the result.
	FurtherTargets []string
	Platforms      []string
	Labels         map[string]string
	Annotations    []string
	// Epoch is SOURCE_DATE_EPOCH: no time in the image is later.
	Epoch         *time.Time
	NoCache       bool
	NoCacheFilter []string
	Cache         CacheOptions
	Pull          bool
	Check         bool // only check the Dockerfile
	// SourcePolicyFile says which sources may be used, in BuildKit's form; "" for all.
	SourcePolicyFile string
	// PolicyFile says which images may be used, in the form of containers-policy.json(5); "" for all. PolicyMode is
	// "enforce" or "warn"; "" for the former.
	PolicyFile, PolicyMode string
	// Hermetic refuses what is not pinned, and gives RUN no network.
	Hermetic bool

	Tags             []string
	NoPush           bool
	SkipPushCheck    bool // do not ask registries beforehand whether they take the image
	Push             bool // push the tags although there are Outputs
	Outputs          []string
	TarPath          string
	OCILayoutPath    string
	Compression      string
	CompressionLevel *int // nil for the algorithm's default

	// ImageFormat is "oci" or "docker", for the media types; "" for OCI's.
	ImageFormat string
	// IgnorePaths are left out of layers that the build makes, with everything below them. Each part
	// of them may be a pattern (path.Match).
	IgnorePaths []string
	// SingleLayer makes one layer of all that the build adds to the base image.
	SingleLayer bool

	Isolation string
	// Cleanup removes, at the end, what RUNs had in the root directory of the container (isolation "inplace"), instead of
	// leaving that to the container's end or the next build in it.
	Cleanup  bool
	StateDir string
	Secrets  []secret.Spec
	Agents   []secret.AgentSpec
	AddHosts []string
	Network  string
	ShmSize  string
	Ulimits  []string
	// Limits of RUN, which take a writable control group.
	CgroupParent       string
	Memory, MemorySwap string
	CPUShares          uint64
	CPUPeriod          uint64 // microseconds
	CPUQuota           int64  // microseconds
	CPUSetCPUs         string
	CPUSetMems         string
	// Allow lists what a Dockerfile may ask for beyond the usual: "security.insecure" and
	// "network.host".
	Allow []string

	Attest AttestOptions
	// Sign says how pushed images are signed; with the zero value they are not.
	Sign sign.Options

	Registry registry.Options

	ResultsDir                 string
	Results                    []string // NAME=PATH
	DigestFile                 string
	ImageNameWithDigestFile    string
	ImageNameTagWithDigestFile string
	BuilderOutput              string // directory
	IIDFile                    string
	MetadataFile               string

	Progress   string
	ProgressTo io.Writer
	// ProgressFile gets lines "N/100" for Argo Workflows; "" for none.
	ProgressFile string
	Stdin        io.Reader
	Stdout       io.Writer
	// Notices are shown to the user first.
	Notices []string
}

// dockerfile says in which directory the Dockerfile is, and its name there. A relative path is
// looked for in the working directory first, then in the whole context and then below
// ContextSubPath, as Kaniko and the tasks around Buildah do; Docker does only the first.
func (o *Options) dockerfile(tempDir func() (string, error)) (dir, name string, err error) {
	switch o.Dockerfile {
	case "":
		return o.Context, "Dockerfile", nil
	case "-":
		return dockerfileFrom(o.Stdin, tempDir)
	}
	paths := []string{o.Dockerfile}
	if !filepath.IsAbs(o.Dockerfile) {
		paths = append(paths, filepath.Join(o.wholeContext, o.Dockerfile), filepath.Join(o.Context, o.Dockerfile))
	}
	for _, p := range paths {
		info, err := os.Stat(p)
		if err == nil && info.Mode().IsRegular() {
			return filepath.Dir(p), filepath.Base(p), nil
		}
		if err == nil {
			return "", "", fmt.Errorf("dockerfile %s is not a regular file", p)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", "", fmt.Errorf("dockerfile: %w", err)
		}
	}
	return "", "", fmt.Errorf("dockerfile %s does not exist, neither in the working directory nor in the context", o.Dockerfile)
}

func dockerfileFrom(r io.Reader, tempDir func() (string, error)) (dir, name string, err error) {
	if r == nil {
		return "", "", errors.New("the Dockerfile should come from standard input, and there is none")
	}
	if dir, err = tempDir(); err != nil {
		return "", "", err
	}
	const limit = 16 << 20 // what BuildKit accepts
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return "", "", fmt.Errorf("reading the Dockerfile from standard input: %w", err)
	}
	if len(data) > limit {
		return "", "", fmt.Errorf("the Dockerfile on standard input is larger than %d bytes", limit)
	}
	return dir, "Dockerfile", os.WriteFile(filepath.Join(dir, "Dockerfile"), data, 0o600)
}

// checkContext makes sure that the context is a directory, and resolves links in its path: what
// is below it is later reached without following any.
func (o *Options) checkContext() error {
	if err := o.checkScheme(); err != nil {
		return err
	}
	dir, err := filepath.EvalSymlinks(o.Context)
	if err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	o.wholeContext = dir
	if dir, err = below(dir, o.ContextSubPath); err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("build context: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("build context %s is not a directory", filepath.Join(o.Context, o.ContextSubPath))
	}
	o.Context = dir
	return nil
}

// below resolves sub in dir. Whoever wrote what is in dir must not choose another place of this machine
// for a context, so no link may lead out of it.
func below(dir, sub string) (string, error) {
	local := strings.TrimLeft(sub, "/")
	if local == "" {
		return dir, nil
	}
	if !filepath.IsLocal(local) {
		return "", fmt.Errorf("%s is not below the context", sub)
	}
	resolved, err := filepath.EvalSymlinks(filepath.Join(dir, local))
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(dir, resolved); err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s leads out of the context, to %s", sub, resolved)
	}
	return resolved, nil
}
