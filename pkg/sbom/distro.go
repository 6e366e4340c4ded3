package sbom

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	apkmeta "github.com/google/osv-scalibr/extractor/filesystem/os/apk/metadata"
	dpkgmeta "github.com/google/osv-scalibr/extractor/filesystem/os/dpkg/metadata"
	"github.com/google/osv-scalibr/extractor/filesystem/os/osrelease"
	rpmmeta "github.com/google/osv-scalibr/extractor/filesystem/os/rpm/metadata"

	"github.com/slipway-build/slipway/pkg/state"
)

// The sizes, in bytes, of the largest records of one package that are read.
const (
	maxDpkgRecord = 1 << 20
	maxApkRecord  = 4 << 20 // lists the files, too
)

// distribution reads the os-release file, if there is one.
func distribution(fs *treeFS) Distribution {
	fields, err := osrelease.GetOSRelease(fs)
	if err != nil {
		return Distribution{} // many images are of no distribution
	}
	return Distribution{ID: fields["ID"], VersionID: fields["VERSION_ID"], Name: fields["PRETTY_NAME"]}
}

// supplier is who a package of a distribution says is responsible for it.
func supplier(metadata any) string {
	switch m := metadata.(type) {
	case *dpkgmeta.Metadata:
		return m.Maintainer
	case *apkmeta.Metadata:
		return m.Maintainer
	case *rpmmeta.Metadata:
		return m.Vendor
	}
	return ""
}

// dpkgPackages reads dpkg's status file.
func dpkgPackages(e filesystem.Extractor) func(context.Context, *filesystem.ScanInput, *content) ([]*extractor.Package, error) {
	return recorded(e, maxDpkgRecord)
}

// apkPackages reads apk's database.
func apkPackages(e filesystem.Extractor) func(context.Context, *filesystem.ScanInput, *content) ([]*extractor.Package, error) {
	return recorded(e, maxApkRecord)
}

// recorded asks an extractor for the packages of a file of records with empty lines between them.
// The extractor holds each record in many small pieces, so its size is bounded.
func recorded(e filesystem.Extractor, limit int) func(context.Context, *filesystem.ScanInput, *content) ([]*extractor.Package, error) {
	return func(ctx context.Context, in *filesystem.ScanInput, c *content) ([]*extractor.Package, error) {
		r := &records{r: in.Reader, limit: limit}
		in.Reader = r
		found, err := packages(e)(ctx, in, c)
		return found, cmp.Or(r.err, err)
	}
}

// records fails when a record is longer than limit bytes.
type records struct {
	r       io.Reader
	limit   int
	length  int // of the record so far
	newline bool
	err     error // that a record is too long
}

func (r *records) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	for _, b := range p[:n] {
		switch {
		case b == '\n' && r.newline:
			r.length = 0
		case b != '\r':
			r.newline = b == '\n'
			r.length++
		}
		if r.length > r.limit {
			r.err = fmt.Errorf("a record has more than %d bytes", r.limit)
			return 0, r.err
		}
	}
	return n, err
}

// rpmPackages reads rpm's database. Its parser wants a file with a name, which is made in the
// temporary area, together with the journal that SQLite keeps beside a database: packages that
// were installed last can be in there alone.
func rpmPackages(e filesystem.Extractor, dir *state.Dir) func(context.Context, *filesystem.ScanInput, *content) ([]*extractor.Package, error) {
	return func(ctx context.Context, in *filesystem.ScanInput, c *content) (_ []*extractor.Package, err error) {
		root, err := dir.TempDir("rpm-*")
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
		if err := copyTo(filepath.Join(root, in.Path), in.Reader); err != nil {
			return nil, err
		}
		if err := copyJournal(root, in); err != nil {
			return nil, err
		}
		in.Root = root
		return packages(e)(ctx, in, c)
	}
}

// copyJournal copies the journal of the database at in.Path, if it has one.
func copyJournal(root string, in *filesystem.ScanInput) (err error) {
	name := in.Path + "-wal"
	fs, ok := in.FS.(*treeFS)
	if !ok || path.Ext(in.Path) != ".sqlite" {
		return nil
	}
	n, err := fs.view.LookupNoFollow(name)
	if err != nil || !n.IsRegular() || n.Entry().Size == 0 {
		return nil // the database is all there is
	}
	if n.Entry().Size > maxRPMDatabase {
		return fmt.Errorf("its journal has %d bytes", n.Entry().Size)
	}
	journal, err := openContent(fs.ctx, n, fs.state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	return copyTo(filepath.Join(root, name), journal)
}

// copyTo makes a file below a directory of ours; name is clean.
func copyTo(name string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
