// Package release makes what a release publishes of the Tekton definitions: files for catalogs and for
// the http resolver, and an image for the bundles resolver. The same definitions give the same bytes.
package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-build/slipway/internal/bundle"
)

// The files of a release. Catalogs that follow the contract of catalog-cd look for the first two by
// these names.
const (
	ArchiveFile   = "resources.tar.gz"
	CatalogFile   = bundle.CatalogFile
	ChecksumsFile = "SHA256SUMS"
)

// epoch is the time of everything in an archive.
func epoch() time.Time { return time.Unix(0, 0).UTC() }

// Write makes the files of a release in a directory, which comes into being if it is missing. It is an
// error if the repository's catalog.yaml is not that of its definitions.
func Write(repository fs.FS, dir string) error {
	definitions, err := bundle.Load(repository)
	if err != nil {
		return err
	}
	catalog, err := fs.ReadFile(repository, CatalogFile)
	if err != nil {
		return err
	}
	if !bytes.Equal(catalog, bundle.Catalog(definitions)) {
		return errors.New(`catalog.yaml is not up to date: run "make generate"`)
	}
	var archive bytes.Buffer
	if err := writeArchive(&archive, repository, definitions); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, data := range map[string][]byte{ArchiveFile: archive.Bytes(), CatalogFile: catalog, ChecksumsFile: checksums(definitions)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// writeArchive writes definitions and their READMEs under the names of the catalog contract, as
// "tasks/slipway/slipway.yaml".
func writeArchive(w io.Writer, repository fs.FS, definitions []*bundle.Definition) error {
	files := map[string][]byte{}
	for _, d := range definitions {
		readme, err := fs.ReadFile(repository, d.Readme())
		if err != nil {
			return err
		}
		files[d.ReleasePath()] = d.Data
		files[path.Join(path.Dir(d.ReleasePath()), path.Base(d.Readme()))] = readme
	}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)

	compressed := gzip.NewWriter(w)
	t := tar.NewWriter(compressed)
	for _, name := range names {
		if err := writeFile(t, name, files[name]); err != nil {
			return err
		}
	}
	return errors.Join(t.Close(), compressed.Close())
}

// writeFile adds a regular file to a tar that says nothing about who made it, and when.
func writeFile(t *tar.Writer, name string, data []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: epoch(), Format: tar.FormatUSTAR}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}

// checksums lists the SHA-256 of each definition for the http resolver, whose parameter digest is that
// with "sha256:" before it. Names are those in the repository, at the top of which "sha256sum -c" can
// read the list.
func checksums(definitions []*bundle.Definition) []byte {
	var b strings.Builder
	for _, d := range definitions {
		fmt.Fprintf(&b, "%s  %s\n", d.Checksum(), d.Path)
	}
	return []byte(b.String())
}
