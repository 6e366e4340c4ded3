package sbom

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/archive"
	"google.golang.org/protobuf/proto"
)

// What of archives in archives is read.
const (
	maxArchiveDepth     = 8
	maxNested           = 128 << 20 // bytes of one archive in another
	maxNestedAtOnce     = 256 << 20 // bytes of archives in each other, which are in memory together
	maxNestedAltogether = 2 << 30
	// maxDirectory is the largest table of contents of a zip file that is read, in bytes. Each entry
	// takes ten times as much in memory.
	maxDirectory = 16 << 20
)

func javaConfig() *cpb.PluginConfig {
	c := unlimited()
	c.PluginSpecific = []*cpb.PluginSpecificConfig{{Config: &cpb.PluginSpecificConfig_JavaArchive{
		JavaArchive: &cpb.JavaArchiveConfig{
			MaxZipDepth:    maxArchiveDepth,
			MaxOpenedBytes: maxArchive + maxNestedAltogether,
			HashJars:       proto.Bool(false), // nothing here asks for sums
		},
	}}}
	return c
}

// javaPackages asks an extractor for the packages of a Java archive. The extractor holds archives
// in archives in memory, so it looks at one at a time, and only at those that pass [checkArchive].
func javaPackages(e filesystem.Extractor) func(context.Context, *filesystem.ScanInput, *content) ([]*extractor.Package, error) {
	var one sync.Mutex
	return func(ctx context.Context, in *filesystem.ScanInput, c *content) ([]*extractor.Package, error) {
		one.Lock()
		defer one.Unlock()
		left := int64(maxNestedAltogether)
		if err := (&archiveCheck{ctx: ctx, altogether: &left}).check(c, c.Size()); err != nil {
			return nil, err
		}
		return packages(e)(ctx, in, c)
	}
}

// errBomb says that an archive would take too much memory.
var errBomb = errors.New("it is larger inside than what is read")

// archiveCheck finds out how much memory an archive takes.
type archiveCheck struct {
	ctx        context.Context // of one call of check
	depth      int
	atOnce     int64  // bytes of the archives around
	altogether *int64 // bytes that may still be unpacked
}

// check fails if the archive, or one in it, is too large. What cannot be read for other reasons
// passes: the extractor says so, too.
func (a *archiveCheck) check(r io.ReaderAt, size int64) error {
	z, err := openZip(r, size)
	if err != nil {
		return onlyBomb(err)
	}
	for _, f := range z.File {
		if err := context.Cause(a.ctx); err != nil {
			return err
		}
		switch name := strings.ToLower(path.Base(f.Name)); {
		case name == "manifest.mf" || name == "pom.properties":
			if f.UncompressedSize64 > maxMetadata {
				return fmt.Errorf("%s: %w", f.Name, errBomb)
			}
		case archive.IsArchive(f.Name):
			if err := a.checkNested(f); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
		}
	}
	return nil
}

func (a *archiveCheck) checkNested(f *zip.File) error {
	if f.UncompressedSize64 > maxNested {
		return errBomb
	}
	size := int64(f.UncompressedSize64)
	*a.altogether -= size
	inner := &archiveCheck{ctx: a.ctx, depth: a.depth + 1, atOnce: a.atOnce + size, altogether: a.altogether}
	if inner.atOnce > maxNestedAtOnce || *a.altogether < 0 {
		return errBomb
	}
	if inner.depth >= maxArchiveDepth {
		return nil // the extractor goes no deeper either
	}
	r, err := f.Open()
	if err != nil {
		return onlyBomb(err)
	}
	defer r.Close()
	var data bytes.Buffer
	if _, err := io.Copy(&data, io.LimitReader(r, size)); err != nil {
		return onlyBomb(err)
	}
	return inner.check(bytes.NewReader(data.Bytes()), int64(data.Len()))
}

// onlyBomb drops errors that are not about size.
func onlyBomb(err error) error {
	if errors.Is(err, errBomb) {
		return err
	}
	return nil
}

// openZip opens a zip file whose table of contents is not too large.
func openZip(r io.ReaderAt, size int64) (*zip.Reader, error) {
	d := &directory{r: r, left: maxDirectory}
	z, err := zip.NewReader(d, size)
	if d.left < 0 {
		return nil, fmt.Errorf("its table of contents: %w", errBomb)
	}
	d.done = true
	return z, err
}

// directory reads the table of contents of a zip file, up to a number of bytes, and after that
// the rest.
type directory struct {
	r    io.ReaderAt
	left int64
	done bool
}

func (d *directory) ReadAt(p []byte, off int64) (int, error) {
	if !d.done {
		if d.left -= int64(len(p)); d.left < 0 {
			return 0, errBomb
		}
	}
	return d.r.ReadAt(p, off)
}
