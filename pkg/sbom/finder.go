package sbom

import (
	"context"
	"fmt"
	"io"
	"math"
	"path"
	"strings"
	"sync"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/converter/spdx"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/archive"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/wheelegg"
	"github.com/google/osv-scalibr/extractor/filesystem/language/rust/cargoauditable"
	"github.com/google/osv-scalibr/extractor/filesystem/os/apk"
	"github.com/google/osv-scalibr/extractor/filesystem/os/dpkg"
	"github.com/google/osv-scalibr/extractor/filesystem/os/rpm"
	scalibrlog "github.com/google/osv-scalibr/log"

	"github.com/slipway-build/slipway/pkg/state"
	"github.com/slipway-build/slipway/pkg/tree"
)

// The sizes, in bytes, of the largest files of their kinds that are read: far above those of any
// real image, and small enough for what is made of them in memory.
const (
	maxDpkgStatus   = 32 << 20
	maxApkInstalled = 64 << 20
	maxRPMDatabase  = 512 << 20
	maxPackageJSON  = 4 << 20
	maxMetadata     = 4 << 20 // of a Python package
	maxEgg          = 256 << 20
	maxArchive      = 1 << 30  // of Java
	maxProgram      = 16 << 30 // of which a part is read
	maxSideFile     = 1 << 20  // what is looked at beside, such as os-release
)

// finder finds the packages of one kind.
type finder struct {
	// wants reports whether packages of the kind may be recorded in f; it looks at names, sizes and
	// modes only.
	wants func(f *file, v *tree.View) bool
	// limit is the largest size of a file that is read, in bytes.
	limit int64
	// programs says that f counts only if it is compiled.
	programs bool
	// modules says that it is the one for modules of npm.
	modules bool
	extract func(ctx context.Context, in *filesystem.ScanInput, c *content) ([]*extractor.Package, error)
}

// quiet keeps scalibr from writing to standard error, where it would mix with the progress
// display; what fails comes back as an error, too. It also has scalibr make a table that it would
// make at first use, with no regard to who else uses it.
var quiet = sync.OnceFunc(func() {
	scalibrlog.SetLogger(silence{})
	spdx.ShortIdentifier("none")
})

// finders returns the finders of all kinds.
func finders(dir *state.Dir) ([]*finder, error) {
	quiet()
	fromDpkg, err := dpkg.New(unlimited())
	if err != nil {
		return nil, err
	}
	fromApk, err := apk.New(unlimited())
	if err != nil {
		return nil, err
	}
	fromRPM, err := rpm.New(unlimited())
	if err != nil {
		return nil, err
	}
	fromPython, err := wheelegg.New(unlimited())
	if err != nil {
		return nil, err
	}
	fromJava, err := archive.New(javaConfig())
	if err != nil {
		return nil, err
	}
	fromRust, err := cargoauditable.New(unlimited())
	if err != nil {
		return nil, err
	}
	return []*finder{
		{wants: wanted(fromDpkg), limit: maxDpkgStatus, extract: dpkgPackages(fromDpkg)},
		{wants: wanted(fromApk), limit: maxApkInstalled, extract: apkPackages(fromApk)},
		{wants: wanted(fromRPM), limit: maxRPMDatabase, extract: rpmPackages(fromRPM, dir)},
		{wants: wantsPython(fromPython), limit: maxMetadata, extract: pythonPackages(fromPython)},
		{wants: wantsEgg, limit: maxEgg, extract: eggPackages(fromPython)},
		{wants: wanted(fromJava), limit: maxArchive, extract: javaPackages(fromJava)},
		{wants: wantsModule, modules: true, limit: maxPackageJSON, extract: npmPackages},
		{wants: wantsProgram, limit: maxProgram, programs: true, extract: goModules},
		{wants: wanted(fromRust), limit: maxProgram, programs: true, extract: rustCrates(fromRust)},
	}, nil
}

// unlimited is a configuration without scalibr's own limits, beyond which files are skipped in silence.
func unlimited() *cpb.PluginConfig { return &cpb.PluginConfig{MaxFileSizeBytes: math.MaxInt64} }

// wanted asks an extractor which files it wants.
func wanted(e filesystem.Extractor) func(*file, *tree.View) bool {
	return func(f *file, _ *tree.View) bool { return e.FileRequired(f) }
}

// wantsProgram is about what may be a program, or a library.
func wantsProgram(f *file, _ *tree.View) bool { return filesystem.IsInterestingExecutable(f) }

// packages asks an extractor for the packages of a file.
func packages(e filesystem.Extractor) func(context.Context, *filesystem.ScanInput, *content) ([]*extractor.Package, error) {
	return func(ctx context.Context, in *filesystem.ScanInput, _ *content) ([]*extractor.Package, error) {
		inv, err := e.Extract(ctx, in)
		return inv.Packages, err
	}
}

// run lets a finder look at a file. What it finds before it fails counts. Parsers of foreign
// bytes may crash; that is an error like others.
func (s *scan) run(ctx context.Context, d *finder, f *file, c *content) (found []*extractor.Package, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("its parser crashed: %v", r)
		}
	}()
	if _, err := c.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	i := infoOf(path.Base(f.path), f.node)
	return d.extract(ctx, &filesystem.ScanInput{
		FS: s.fs, Path: f.path, Info: i,
		Reader: &openFile{content: &content{SectionReader: c.SectionReader}, info: i},
	}, c)
}

// convert makes a package of ours of one of scalibr's; false if it has no name.
func convert(p *extractor.Package, f *file) (Package, bool) {
	u := p.PURL()
	if u == nil || u.Name == "" {
		return Package{}, false
	}
	return Package{
		Type: u.Type, Name: p.Name, Version: p.Version,
		PURL:      u.String(),
		License:   strings.TrimSpace(strings.Join(p.Licenses, " AND ")),
		Supplier:  supplier(p.Metadata),
		Locations: []Location{{Path: f.path, Layer: f.node.Layer()}},
	}, true
}

// silence is a logger that says nothing.
type silence struct{}

func (silence) Errorf(string, ...any) {}
func (silence) Error(...any)          {}
func (silence) Warnf(string, ...any)  {}
func (silence) Warn(...any)           {}
func (silence) Infof(string, ...any)  {}
func (silence) Info(...any)           {}
func (silence) Debugf(string, ...any) {}
func (silence) Debug(...any)          {}
