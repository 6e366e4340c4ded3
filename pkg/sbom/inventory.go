// Package sbom finds out which packages a root filesystem has, and writes that down as a
// software bill of materials: SPDX 2.3 or CycloneDX.
//
// It looks at a tree, so nothing is unpacked, and of the layers only those are read that have
// a file in which packages may be recorded. Most kinds of packages are recognised by the
// extractors of github.com/google/osv-scalibr.
//
// Whatever a tree has in it is foreign: what is broken, or larger than anything of its kind,
// gives a warning and is left out.
package sbom

import (
	"cmp"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/pkg/layer"
)

// The predicate types of in-toto statements about an SBOM.
const (
	// PredicateSPDX is the type of what [Inventory.SPDX] gives
	// (https://github.com/in-toto/attestation/blob/main/spec/predicates/spdx.md).
	PredicateSPDX = "https://spdx.dev/Document"
	// PredicateCycloneDX is the type of what [Inventory.CycloneDX] gives
	// (https://github.com/in-toto/attestation/blob/main/spec/predicates/cyclonedx.md).
	PredicateCycloneDX = "https://cyclonedx.org/bom"
)

// Package is a package that is installed in a tree, wherever and however often.
type Package struct {
	// Type is the type of the package URL: "deb", "apk", "rpm", "golang", "npm", "pypi", "maven" or
	// "cargo".
	Type string
	// Name and Version are spelled as the kind of package spells them. Version may be
	// empty: the main module of a Go program that was built from a work tree has none.
	Name, Version string
	// PURL is the package URL (https://github.com/package-url/purl-spec). No two packages of
	// an inventory have the same.
	PURL string
	// License is what the package declares, as it spells it; "" if it does not.
	License string
	// Supplier is who the package says is responsible for it; "" if it does not.
	Supplier string
	// Locations are the files in which the package was found, in tree order.
	Locations []Location
}

// Location is a file of the tree.
type Location struct {
	// Path is in the form of [layer.Entry.Path].
	Path string
	// Layer is the layer that the file comes from: the topmost one that has it.
	Layer layer.Layer
}

// Distribution is the operating system of a tree, by its os-release file.
type Distribution struct {
	ID, VersionID, Name string
}

// Inventory is what packages a tree has. It is immutable.
type Inventory struct {
	packages     []Package
	distribution Distribution
}

// Packages returns the packages, sorted by their type, name, version and package URL, in a slice
// of the caller's own.
func (i *Inventory) Packages() []Package { return slices.Clone(i.packages) }

// Distribution returns the operating system; the zero value if the tree does not say.
func (i *Inventory) Distribution() Distribution { return i.distribution }

// newInventory merges what was found in several places and brings it into order.
func newInventory(found []Package, d Distribution) *Inventory {
	byPURL := map[string]*Package{}
	for i := range found {
		p := &found[i]
		known, ok := byPURL[p.PURL]
		if !ok {
			byPURL[p.PURL] = p
			continue
		}
		known.License = cmp.Or(known.License, p.License)
		known.Supplier = cmp.Or(known.Supplier, p.Supplier)
		known.Locations = append(known.Locations, p.Locations...)
	}
	inv := &Inventory{distribution: d, packages: make([]Package, 0, len(byPURL))}
	for _, p := range byPURL {
		slices.SortStableFunc(p.Locations, func(a, b Location) int { return layer.ComparePaths(a.Path, b.Path) })
		p.Locations = slices.CompactFunc(p.Locations, func(a, b Location) bool { return a.Path == b.Path })
		inv.packages = append(inv.packages, *p)
	}
	slices.SortFunc(inv.packages, func(a, b Package) int {
		return cmp.Or(strings.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name),
			strings.Compare(a.Version, b.Version), strings.Compare(a.PURL, b.PURL))
	})
	return inv
}
