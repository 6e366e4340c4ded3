package sbom

import (
	"compress/zlib"
	"context"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/purl"
)

// maxCrates is the largest list of crates that is read out of a Rust program, in bytes.
const maxCrates = 16 << 20

// goModules reads which modules a Go program was built from, with the reader that "go version -m"
// uses. Unlike scalibr's extractor it keeps versions as Go spells them, and the path of a module
// that a directory replaces.
func goModules(_ context.Context, in *filesystem.ScanInput, c *content) ([]*extractor.Package, error) {
	program, err := buildinfo.Read(c)
	if err != nil {
		return nil, nil //nolint:nilerr // most programs are not written in Go
	}
	found := []*extractor.Package{goModule("stdlib", goVersion(program.GoVersion), in.Path)}
	if program.Main.Path != "" {
		found = append(found, goModule(program.Main.Path, moduleVersion(program.Main.Version), in.Path))
	}
	for _, dep := range program.Deps {
		found = append(found, dependency(dep, in.Path))
	}
	return found, nil
}

// dependency is a module that the main module needs. What replaces it is what was compiled.
func dependency(dep *debug.Module, file string) *extractor.Package {
	switch r := dep.Replace; {
	case r == nil:
		return goModule(dep.Path, moduleVersion(dep.Version), file)
	case r.Version == "" || r.Version == develVersion: // a directory
		return goModule(dep.Path, "", file)
	default:
		return goModule(r.Path, moduleVersion(r.Version), file)
	}
}

// develVersion stands for a module that is no release.
const develVersion = "(devel)"

// moduleVersion is the version of a module, "" if it is none that anybody could look up.
func moduleVersion(v string) string {
	if v == develVersion {
		return ""
	}
	return v
}

// goVersion is the version of the standard library: of "go1.26.8 X:nodwarf5", 1.26.8.
func goVersion(v string) string {
	v, _, _ = strings.Cut(v, " ")
	return strings.TrimPrefix(v, "go")
}

func goModule(name, version, file string) *extractor.Package {
	return &extractor.Package{
		Name: name, Version: version, PURLType: purl.TypeGolang,
		Location: extractor.LocationFromPath(file),
	}
}

// rustCrates asks an extractor for the crates that cargo-auditable recorded in a program. The list
// is compressed, so its size is looked at first.
func rustCrates(e filesystem.Extractor) func(context.Context, *filesystem.ScanInput, *content) ([]*extractor.Package, error) {
	return func(ctx context.Context, in *filesystem.ScanInput, c *content) ([]*extractor.Package, error) {
		program, err := elf.NewFile(c)
		if err != nil {
			return nil, nil //nolint:nilerr // a program for another operating system
		}
		listed := false
		for _, s := range program.Sections {
			if s.Name == ".dep-v0" || s.Name == ".rust-deps-v0" {
				if err := checkCrates(s); err != nil {
					return nil, err
				}
				listed = true
			}
		}
		if !listed {
			return nil, nil
		}
		return packages(e)(ctx, in, c)
	}
}

// checkCrates makes sure that a list of crates can be held in memory.
func checkCrates(s *elf.Section) error {
	if s.Size > maxCrates {
		return fmt.Errorf("its list of crates has %d bytes", s.Size)
	}
	data, err := s.Data()
	if err != nil {
		return fmt.Errorf("its list of crates: %w", err)
	}
	r, err := zlib.NewReader(strings.NewReader(string(data)))
	if err != nil {
		return fmt.Errorf("its list of crates: %w", err)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxCrates+1))
	if n > maxCrates {
		err = fmt.Errorf("it has more than %d bytes", maxCrates)
	}
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("its list of crates: %w", err)
	}
	return nil
}
