package sbom

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// noAssertion is how SPDX says that nothing is said.
const noAssertion = "NOASSERTION"

// The identifiers of the image and of its operating system.
const (
	spdxImage  = common.ElementID("Image")
	spdxSystem = common.ElementID("OperatingSystem")
)

// SPDX returns the inventory as a document of SPDX 2.3 in JSON (https://spdx.github.io/spdx-spec/v2.3/).
// It describes the image, which contains the packages. Where these were found is in their source
// information.
func (i *Inventory) SPDX(d Document) ([]byte, error) {
	doc := &v2_3.Document{
		SPDXVersion:       v2_3.Version,
		DataLicense:       v2_3.DataLicense,
		SPDXIdentifier:    "DOCUMENT",
		DocumentName:      d.title(),
		DocumentNamespace: toolHome + "/spdx/" + d.id("spdx").String(),
		CreationInfo: &v2_3.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "slipway-" + d.version()}},
			Created:  d.created(),
		},
		Packages:      []*v2_3.Package{d.spdxImage()},
		Relationships: []*v2_3.Relationship{relate("DOCUMENT", common.TypeRelationshipDescribe, spdxImage)},
	}
	contain := func(p *v2_3.Package) {
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, relate(spdxImage, common.TypeRelationshipContains, p.PackageSPDXIdentifier))
	}
	if i.distribution.ID != "" {
		contain(i.distribution.spdx())
	}
	others := map[string]string{}
	for k := range i.packages {
		l := parseLicense(i.packages[k].License)
		maps.Copy(others, l.others)
		contain(i.packages[k].spdx(&d, l))
	}
	for _, id := range slices.Sorted(maps.Keys(others)) {
		doc.OtherLicenses = append(doc.OtherLicenses, &v2_3.OtherLicense{
			LicenseIdentifier: id, LicenseName: noAssertion, ExtractedText: others[id],
		})
	}
	var b bytes.Buffer
	if err := spdxjson.Write(doc, &b, spdxjson.EscapeHTML(false)); err != nil {
		return nil, fmt.Errorf("writing SPDX: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

func relate(a common.ElementID, relationship string, b common.ElementID) *v2_3.Relationship {
	return &v2_3.Relationship{
		RefA:         common.DocElementID{ElementRefID: a},
		RefB:         common.DocElementID{ElementRefID: b},
		Relationship: relationship,
	}
}

// spdxPackage is a package of which nothing is known but a name.
func spdxPackage(id common.ElementID, name string) *v2_3.Package {
	return &v2_3.Package{
		PackageName: name, PackageSPDXIdentifier: id,
		PackageDownloadLocation: noAssertion,
		PackageLicenseConcluded: noAssertion, PackageLicenseDeclared: noAssertion,
		PackageCopyrightText: noAssertion,
	}
}

// spdxImage is the image itself.
func (d *Document) spdxImage() *v2_3.Package {
	p := spdxPackage(spdxImage, d.title())
	p.PackageVersion, p.PrimaryPackagePurpose = d.Digest, "CONTAINER"
	if sum := d.sha256(); sum != "" {
		p.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: sum}}
	}
	p.PackageExternalReferences = spdxPURL(d.purl())
	return p
}

func (o *Distribution) spdx() *v2_3.Package {
	p := spdxPackage(spdxSystem, o.ID)
	p.PackageVersion, p.PackageSummary, p.PrimaryPackagePurpose = o.VersionID, o.Name, "OPERATING-SYSTEM"
	return p
}

func (p *Package) spdx(d *Document, l license) *v2_3.Package {
	out := spdxPackage(common.ElementID("Package-"+p.identifier()), p.Name)
	out.PackageVersion = p.Version
	out.PackageSupplier = &common.Supplier{Supplier: noAssertion}
	if s := spdxSupplier(p.Supplier); s != "" {
		out.PackageSupplier = &common.Supplier{SupplierType: "Organization", Supplier: s}
	}
	if l.expression != "" {
		out.PackageLicenseDeclared = l.expression
	}
	out.PackageSourceInfo = p.sourceInfo(d)
	out.PackageExternalReferences = spdxPURL(p.PURL)
	return out
}

// spdxSupplier turns "Name <address>" into "Name (address)", as SPDX spells it.
func spdxSupplier(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if before, address, ok := strings.Cut(s, " <"); ok {
		return before + " (" + strings.TrimSuffix(address, ">") + ")"
	}
	return s
}

// sourceInfo says where the package was found.
func (p *Package) sourceInfo(d *Document) string {
	var b strings.Builder
	b.WriteString("found in")
	for k, l := range p.Locations {
		if k > 0 {
			b.WriteByte(',')
		}
		b.WriteString(" /" + l.Path)
		if digest := d.layerOf(l); digest != "" {
			b.WriteString(" of layer " + digest)
		}
	}
	return b.String()
}

func spdxPURL(u string) []*v2_3.PackageExternalReference {
	if u == "" {
		return nil
	}
	return []*v2_3.PackageExternalReference{{
		Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: u,
	}}
}
