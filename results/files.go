package results

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Files says where the outcome of a build is written. Fields that are empty ask for nothing;
// a Tekton task passes an empty string for what its user did not set.
type Files struct {
	// Dir gets one file for each result, named like it: /tekton/results in a Task,
	// $(step.results.X.path)'s directory in a StepAction, any directory in Argo.
	Dir string
	// Named are single results with a file of their own.
	Named []Named

	// DigestFile gets the digest, without a newline. An https:// URL gets it by PUT.
	DigestFile string
	// NameDigestFile gets a line "repository@digest" for each destination.
	NameDigestFile string
	// NameTagDigestFile gets a line "repository:tag@digest" for each destination.
	NameTagDigestFile string

	// BuilderOutput is a directory whose file "images" gets a line of JSON for each destination of an image that was
	// pushed: Kaniko's BUILDER_OUTPUT.
	BuilderOutput string

	// Other are files of other formats that shall be written with these, or not at all.
	Other []File

	// Containers is the number of containers in the pod, for [MessageLimit]; 0 if
	// unknown.
	Containers int

	// Stdout and Stderr are what /dev/stdout and /dev/stderr stand for; nil means the
	// process's own.
	Stdout, Stderr io.Writer
	// Client sends DigestFile; nil means one that gives up after 30 seconds.
	Client *http.Client
}

// Named asks for one result in a file of its own: --result NAME=PATH.
type Named struct {
	Name, Path string
}

// File is a file with its whole content.
type File struct {
	Path, Content string
}

// ParseNamed reads NAME=PATH.
func ParseNamed(s string) (Named, error) {
	name, path, found := strings.Cut(s, "=")
	if !found || name == "" || path == "" {
		return Named{}, fmt.Errorf("result %q: not of the form NAME=PATH", s)
	}
	if !slices.Contains(names(), name) {
		return Named{}, fmt.Errorf("result %q: there is no result %s, only %s", s, name, strings.Join(names(), ", "))
	}
	return Named{Name: name, Path: path}, nil
}

// names lists the results that can be asked for.
func names() []string {
	return []string{ImageURL, ImageDigest, ImageRef, Images, ImageArtifactOutputs, BaseImageArtifactInputs, BaseImages, SBOMBlobURL, ErrorReason, ErrorMessage}
}

// Check finds out before a build what would keep its outcome from being written: an unknown
// result, one file meant for two things, a URL that is not https. It creates nothing.
func (f *Files) Check() error {
	for _, n := range f.Named {
		if _, err := ParseNamed(n.Name + "=" + n.Path); err != nil {
			return err
		}
	}
	if _, err := f.samples(true); err != nil {
		return err
	}
	_, err := f.digestURL()
	return err
}

// Probe finds out whether the files of an image that is pushed, or not, can be written where they are wanted, before
// somebody has waited for them. It leaves nothing behind.
func (f *Files) Probe(pushed bool) error {
	all, err := f.samples(pushed)
	if err != nil {
		return err
	}
	if !pushed {
		all, _ = withoutHints(all)
	}
	return f.transaction().probe(all)
}

// samples are the files of an image in whose outcome everything differs that can.
func (f *Files) samples(pushed bool) ([]file, error) {
	sample := Image{
		Destinations: []string{"example.com/a:1", "example.com/b:2"},
		Digest:       "sha256:" + strings.Repeat("0", 64),
		Pushed:       pushed,
	}
	var extra []Result
	for _, name := range []string{BaseImageArtifactInputs, BaseImages, SBOMBlobURL, ErrorReason, ErrorMessage} {
		extra = append(extra, Result{name, name})
	}
	return f.files(sample, extra...)
}

// Write writes the outcome of a build that succeeded: the results of image, those in extra, what
// it has no value for as empty ones, and Kaniko's files. It is called once, after everything else a build does. When it fails,
// it has removed what it wrote. The warnings are for the user, and are given also with an
// error.
func (f *Files) Write(ctx context.Context, image Image, extra ...Result) (warnings []string, err error) {
	for _, name := range []string{BaseImages, SBOMBlobURL, ErrorReason, ErrorMessage} {
		if !slices.ContainsFunc(extra, func(r Result) bool { return r.Name == name }) {
			extra = append(extra, Result{Name: name})
		}
	}
	if extra, warnings, err = f.fit(image, extra); err != nil {
		return nil, err
	}
	all, err := f.files(image, extra...)
	if err != nil {
		return nil, err
	}
	if !image.Pushed {
		var left []string
		all, left = withoutHints(all)
		warnings = append(warnings, left...)
		for _, n := range f.Named {
			if n.Name == ImageDigest {
				warnings = append(warnings, notPushed(n.Path))
			}
		}
	}
	long, err := overLimit(tektonResults(all), MessageLimit(f.Containers))
	if err != nil {
		return warnings, err
	}
	if long != "" {
		warnings = append(warnings, long)
	}
	return warnings, f.write(ctx, all, image.Digest)
}

// fit leaves out what is good to know and too long to be told.
func (f *Files) fit(image Image, extra []Result) (fitting []Result, warnings []string, err error) {
	fitting = slices.Clone(extra)
	for _, name := range []string{BaseImages, BaseImageArtifactInputs, SBOMBlobURL} {
		all, err := f.files(image, fitting...)
		if err != nil {
			return nil, nil, err
		}
		size, err := MessageSize(tektonResults(all))
		if err != nil || size <= MessageLimit(f.Containers) {
			return fitting, warnings, err
		}
		i := slices.IndexFunc(fitting, func(r Result) bool { return r.Name == name && r.Value != "" })
		if i < 0 {
			continue
		}
		warnings = append(warnings, fmt.Sprintf("result %s (%d bytes) is left out: with it Tekton's termination message would be longer than %d bytes", name, len(fitting[i].Value), MessageLimit(f.Containers)))
		fitting[i].Value = ""
		if name == BaseImageArtifactInputs { // an object cannot be empty
			fitting = slices.Delete(fitting, i, i+1)
		}
	}
	return fitting, warnings, nil
}

// files gives all files that the outcome of a build asks for.
func (f *Files) files(image Image, extra ...Result) ([]file, error) {
	values, err := image.Results()
	if err != nil {
		return nil, err
	}
	names, err := image.nameDigestLines(false)
	if err != nil {
		return nil, err
	}
	tags, err := image.nameDigestLines(true)
	if err != nil {
		return nil, err
	}
	all := append(f.resultFiles(append(values, extra...)), f.kanikoFiles(image.Digest, names, tags)...)
	if f.BuilderOutput != "" && image.Pushed {
		lines, err := image.jsonLines()
		if err != nil {
			return nil, err
		}
		all = append(all, file{filepath.Join(f.BuilderOutput, "images"), lines, false})
	}
	for _, o := range f.Other {
		if o.Path != "" {
			all = append(all, file{o.Path, o.Content, false})
		}
	}
	return merge(all)
}

// WriteFailure writes ErrorReason and ErrorMessage, the latter cut so that it leaves room for
// other results, and nothing else.
func (f *Files) WriteFailure(reason, message string) error {
	const enough = 1024 // bytes
	message = strings.ToValidUTF8(message[:min(len(message), enough)], "")
	all, err := merge(f.resultFiles([]Result{{ErrorReason, reason}, {ErrorMessage, message}}))
	if err != nil {
		return err
	}
	return f.transaction().write(all)
}

// write puts files and the digest for a URL where they belong. The URL comes between the
// temporary files and their renaming: of the three it fails most easily, and cannot be
// taken back.
func (f *Files) write(ctx context.Context, files []file, digest string) error {
	target, err := f.digestURL()
	if err != nil {
		return err
	}
	t := f.transaction()
	if target != nil {
		client := f.Client
		if client == nil {
			client = &http.Client{Timeout: 30 * time.Second}
		}
		t.prepared = func() error { return put(ctx, client, target, digest, time.Second) }
	}
	return t.write(files)
}

func (f *Files) transaction() *transaction {
	t := &transaction{stdout: f.Stdout, stderr: f.Stderr}
	if t.stdout == nil {
		t.stdout = os.Stdout
	}
	if t.stderr == nil {
		t.stderr = os.Stderr
	}
	return t
}

// file is one file to be written.
type file struct {
	path, content string
	// result says that the file was asked for as a result.
	result bool
}

// resultFiles gives the files of all places that want one of results.
func (f *Files) resultFiles(results []Result) []file {
	var files []file
	for _, r := range results {
		if f.Dir != "" {
			files = append(files, file{filepath.Join(f.Dir, r.Name), r.Value, true})
		}
		for _, n := range f.Named {
			if n.Name == r.Name {
				files = append(files, file{n.Path, r.Value, true})
			}
		}
	}
	return files
}

// kanikoFiles gives the files of Kaniko's options that name a path.
func (f *Files) kanikoFiles(digest, names, tags string) []file {
	var files []file
	if !isURL(f.DigestFile) {
		files = append(files, file{f.DigestFile, digest, false})
	}
	files = append(files, file{f.NameDigestFile, names, false}, file{f.NameTagDigestFile, tags, false})
	return slices.DeleteFunc(files, func(f file) bool { return f.path == "" })
}

func isURL(path string) bool {
	return strings.HasPrefix(path, "https://") || strings.HasPrefix(path, "http://")
}

// digestURL is the URL that DigestFile names, nil if it names none.
func (f *Files) digestURL() (*url.URL, error) {
	if !isURL(f.DigestFile) {
		return nil, nil
	}
	target, err := url.Parse(f.DigestFile)
	if err != nil {
		return nil, fmt.Errorf("digest file: %w", withoutURL(err))
	}
	if target.Scheme != "https" || target.Host == "" {
		return nil, fmt.Errorf("digest file: a URL must begin with https:// and a host")
	}
	return target, nil
}

// withoutHints leaves out the files that Tekton Chains would take for an image to be signed:
// a Task may well pass $(results.IMAGE_DIGEST.path) to --digest-file.
func withoutHints(files []file) (kept []file, warnings []string) {
	for _, f := range files {
		base := filepath.Base(f.path)
		if f.content != "" && (strings.HasSuffix(base, ImageDigest) || base == Images) {
			warnings = append(warnings, notPushed(f.path))
			continue
		}
		kept = append(kept, f)
	}
	return kept, warnings
}

func notPushed(path string) string {
	return fmt.Sprintf("%s is not written: the image was not pushed", path)
}

// merge drops files that are asked for twice, unless their content differs. Standard output
// and standard error can take any number.
func merge(files []file) ([]file, error) {
	var merged []file
	for _, f := range files {
		f.path = filepath.Clean(f.path)
		same := slices.IndexFunc(merged, func(m file) bool { return m.path == f.path })
		switch {
		case same < 0 || isStandard(f.path):
			merged = append(merged, f)
		case merged[same].content != f.content:
			return nil, fmt.Errorf("results: %s is the file of two different results", f.path)
		default:
			merged[same].result = merged[same].result || f.result
		}
	}
	return merged, nil
}

// tektonResults gives what Tekton will read: all that was asked for as a result, and what
// else lies in a directory of Tekton's.
func tektonResults(files []file) []Result {
	var results []Result
	for _, f := range files {
		if f.result && !isStandard(f.path) || strings.HasPrefix(f.path, "/tekton/") {
			results = append(results, Result{filepath.Base(f.path), f.content})
		}
	}
	return results
}
