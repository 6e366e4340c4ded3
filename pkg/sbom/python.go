package sbom

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"

	"github.com/slipway-build/slipway/pkg/tree"
)

// wantsPython is about the metadata of installed packages. A wheel is what a package is installed
// from, and does not count.
func wantsPython(e filesystem.Extractor) func(*file, *tree.View) bool {
	return func(f *file, _ *tree.View) bool {
		return !strings.HasSuffix(f.path, ".whl") && !strings.HasSuffix(f.path, ".egg") && e.FileRequired(f)
	}
}

// wantsEgg is about packages that are installed as one zip file.
func wantsEgg(f *file, _ *tree.View) bool { return strings.HasSuffix(f.path, ".egg") }

// pythonPackages asks an extractor for the package that a file of metadata is about, and takes the
// licence from there, too.
func pythonPackages(e filesystem.Extractor) func(context.Context, *filesystem.ScanInput, *content) ([]*extractor.Package, error) {
	return func(ctx context.Context, in *filesystem.ScanInput, c *content) ([]*extractor.Package, error) {
		found, err := packages(e)(ctx, in, c)
		if err != nil || len(found) != 1 {
			return found, err
		}
		if _, err := c.Seek(0, io.SeekStart); err != nil {
			return found, err
		}
		if l := pythonLicense(c); l != "" {
			found[0].Licenses = []string{l}
		}
		return found, nil
	}
}

// pythonLicense is the licence of a package by the header of its metadata: the expression, or
// else the field of old, if it is a name and not a text.
// (https://packaging.python.org/en/latest/specifications/core-metadata/)
func pythonLicense(r io.Reader) string {
	license := ""
	for s := bufio.NewScanner(r); s.Scan() && s.Text() != ""; {
		key, value, _ := strings.Cut(s.Text(), ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(key) {
		case "license-expression":
			return value
		case "license":
			if value != "UNKNOWN" && len(value) < 100 {
				license = value
			}
		}
	}
	return license
}

// eggPackages asks an extractor for the package in an egg.
func eggPackages(e filesystem.Extractor) func(context.Context, *filesystem.ScanInput, *content) ([]*extractor.Package, error) {
	return func(ctx context.Context, in *filesystem.ScanInput, c *content) ([]*extractor.Package, error) {
		z, err := openZip(c, c.Size())
		if err != nil {
			return nil, fmt.Errorf("it is no zip file: %w", err)
		}
		for _, f := range z.File {
			if f.UncompressedSize64 > maxMetadata && strings.HasSuffix(f.Name, "-INFO") {
				return nil, fmt.Errorf("%s in it has %d bytes", f.Name, f.UncompressedSize64)
			}
		}
		return packages(e)(ctx, in, c)
	}
}
