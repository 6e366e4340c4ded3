package sbom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/tree"
)

const (
	// coreReport is how a scanner names its report about the image itself, up to the first dot.
	coreReport = "sbom"
	// maxReport is how large a report may be, in bytes: as large as an attestation of BuildKit's.
	maxReport = 80 << 20
	// maxReports is how large all reports may be together, in bytes.
	maxReports = 256 << 20
)

// Report is a bill of materials that a scanner has made: an in-toto statement, taken apart.
type Report struct {
	// Name is the scanner's name for it, such as "sbom.spdx.json".
	Name string
	// PredicateType is always [PredicateSPDX].
	PredicateType string
	// Predicate is the document as the scanner wrote it, without white space between its parts.
	Predicate json.RawMessage
	// Subjects are what the scanner says that it is about; none stand for the image.
	Subjects []Subject
}

// Core reports whether it is about the image itself, and not a stage or the context.
func (r *Report) Core() bool {
	name, _, _ := strings.Cut(r.Name, ".")
	return name == coreReport
}

// Subject is what a statement is about.
type Subject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// ReadReports reads what a scanner of BuildKit's protocol has written, which is the whole of t: one
// in-toto statement in a file, as BuildKit reads them (exporter/attestation/unbundle.go). Those about
// the image, as far as names tell, come first, the rest in the order of their names. Anything else is an error, as is
// that there is no report.
func ReadReports(ctx context.Context, t *tree.Tree) ([]Report, error) {
	v, err := t.View(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the scanner's reports: %w", err)
	}
	var reports []Report
	size := int64(0)
	for n := range v.Root().Children() {
		r, err := readReport(ctx, v, n.Name())
		if err != nil {
			return nil, fmt.Errorf("the scanner's report %q: %w", n.Name(), err)
		}
		if size += int64(len(r.Predicate)); size > maxReports {
			return nil, fmt.Errorf("the scanner's reports have more than %d bytes", maxReports)
		}
		reports = append(reports, *r)
	}
	slices.SortStableFunc(reports, func(a, b Report) int {
		switch {
		case a.Core() == b.Core():
			return 0
		case a.Core():
			return -1
		}
		return 1
	})
	if len(reports) == 0 {
		return nil, errors.New("the scanner has written no report")
	}
	return reports, nil
}

func readReport(ctx context.Context, v *tree.View, name string) (*Report, error) {
	data, err := v.ReadFile(ctx, name, maxReport)
	if err != nil {
		return nil, err
	}
	var s struct {
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
		Subject       []Subject       `json:"subject"`
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("it is no in-toto statement: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("it is more than one in-toto statement")
	}
	if s.PredicateType != PredicateSPDX {
		return nil, fmt.Errorf("its predicate is of type %q, not %s", s.PredicateType, PredicateSPDX)
	}
	if len(s.Predicate) == 0 || string(s.Predicate) == "null" {
		return nil, errors.New("it has no predicate")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, s.Predicate); err != nil {
		return nil, err
	}
	return &Report{Name: name, PredicateType: s.PredicateType, Predicate: compact.Bytes(), Subjects: s.Subject}, nil
}
