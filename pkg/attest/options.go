// Package attest says what is to be told about an image besides the image, and gives it in-toto's form.
package attest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tonistiigi/go-csvvalue"

	"github.com/slipway-build/slipway/pkg/provenance"
)

// Options are the attestations that a build makes.
type Options struct {
	SBOM       *SBOM               // nil for none
	Provenance *provenance.Options // nil for none
}

// None reports whether there are no attestations.
func (o *Options) None() bool { return o.SBOM == nil && o.Provenance == nil }

// SBOM says how the bill of materials is made.
type SBOM struct {
	// Generator is an image that speaks BuildKit's scanner protocol, and Parameters are what it is told; "" for the scanner that is
	// built in.
	Generator  string
	Parameters map[string]string
	// SPDX and CycloneDX are the formats; a generator has its own.
	SPDX, CycloneDX bool
}

// The kinds of attestations, as BuildKit calls them.
const (
	kindSBOM       = "sbom"
	kindProvenance = "provenance"
)

// buildArg begins the build arguments that ask for attestations, as BuildKit has them.
const buildArg = "BUILDKIT_ATTEST_"

// ParseOptions reads the flags --attest, --sbom and --provenance as buildx has them, "" where one is not given, and the build arguments
// that mean the same. A flag for one kind comes before --attest, and a flag before a build argument.
func ParseOptions(attest []string, sbom, prov string, buildArgs map[string]string) (*Options, error) {
	attrs := map[string]map[string]string{}
	for name, value := range buildArgs {
		kind, ok := strings.CutPrefix(name, buildArg)
		if !ok {
			continue
		}
		fields, err := fieldsOf(value)
		if err != nil {
			return nil, fmt.Errorf("build argument %s: %w", name, err)
		}
		attrs[strings.ToLower(kind)] = fields
	}
	for _, a := range attest {
		fields, err := fieldsOf(a)
		if err != nil {
			return nil, fmt.Errorf("--attest %q: %w", a, err)
		}
		kind := fields["type"]
		if kind == "" {
			return nil, fmt.Errorf("--attest %q has no type: there are type=sbom and type=provenance", a)
		}
		delete(fields, "type")
		attrs[kind] = fields
	}
	for kind, value := range map[string]string{kindSBOM: sbom, kindProvenance: prov} {
		if value == "" {
			continue
		}
		fields, err := shorthand(value)
		if err != nil {
			return nil, fmt.Errorf("--%s %q: %w", kind, value, err)
		}
		attrs[kind] = fields
	}
	return newOptions(attrs)
}

// shorthand reads "true", "false" or attributes.
func shorthand(value string) (map[string]string, error) {
	if on, err := strconv.ParseBool(value); err == nil {
		return map[string]string{"disabled": strconv.FormatBool(!on)}, nil
	}
	return fieldsOf(value)
}

func newOptions(attrs map[string]map[string]string) (*Options, error) {
	o := &Options{}
	for _, kind := range slices.Sorted(maps.Keys(attrs)) {
		fields := attrs[kind]
		disabled, given := fields["disabled"]
		delete(fields, "disabled")
		if given {
			off, err := strconv.ParseBool(disabled)
			if err != nil {
				return nil, fmt.Errorf("attestation %s: disabled: %w", kind, err)
			}
			if off {
				continue
			}
		}
		var err error
		switch kind {
		case kindSBOM:
			o.SBOM, err = newSBOM(fields)
		case kindProvenance:
			o.Provenance, err = provenance.ParseOptions(fields)
		default:
			err = fmt.Errorf("there is no attestation of type %q: there are sbom and provenance", kind)
		}
		if err != nil {
			return nil, err
		}
	}
	return o, nil
}

// formats are the values of "format".
func formats() []string { return []string{"spdx", "cyclonedx", "both"} }

func newSBOM(fields map[string]string) (*SBOM, error) {
	s := &SBOM{Generator: fields["generator"], SPDX: true}
	delete(fields, "generator")
	if s.Generator != "" { // whatever else is given is for it
		s.Parameters = fields
		return s, nil
	}
	for key, value := range fields {
		if key != "format" {
			return nil, fmt.Errorf("attestation sbom: there is no %s: there are generator, format, and what a generator takes", key)
		}
		if !slices.Contains(formats(), value) {
			return nil, fmt.Errorf("attestation sbom: format %q is none of %s", value, strings.Join(formats(), ", "))
		}
		s.SPDX, s.CycloneDX = value != "cyclonedx", value != "spdx"
	}
	return s, nil
}

// fieldsOf reads KEY=VALUE,…; a key alone has an empty value.
func fieldsOf(s string) (map[string]string, error) {
	m := map[string]string{}
	if s == "" {
		return m, nil
	}
	fields, err := csvvalue.Fields(s, nil)
	if err != nil {
		return nil, err
	}
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		if _, twice := m[key]; twice {
			return nil, fmt.Errorf("%s is given twice", key)
		}
		m[key] = value
	}
	return m, nil
}
