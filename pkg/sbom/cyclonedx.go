package sbom

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
)

// cyclonedxVersion is the newest that the common scanners read.
const cyclonedxVersion = cyclonedx.SpecVersion1_6

// CycloneDX returns the inventory as a bill of materials of CycloneDX 1.6 in JSON
// (https://cyclonedx.org/docs/1.6/json/). Where packages were found is in their evidence.
func (i *Inventory) CycloneDX(d Document) ([]byte, error) {
	bom := cyclonedx.NewBOM()
	bom.SerialNumber = d.id("cyclonedx").URN()
	bom.Metadata = &cyclonedx.Metadata{
		Timestamp: d.created(),
		Component: d.cyclonedxImage(),
		Tools: &cyclonedx.ToolsChoice{Components: &[]cyclonedx.Component{{
			Type: cyclonedx.ComponentTypeApplication, Name: "slipway", Version: d.version(),
			ExternalReferences: &[]cyclonedx.ExternalReference{{URL: toolHome, Type: cyclonedx.ERTypeWebsite}},
		}}},
	}
	components := []cyclonedx.Component{}
	if i.distribution.ID != "" {
		components = append(components, i.distribution.cyclonedx())
	}
	for k := range i.packages {
		components = append(components, i.packages[k].cyclonedx(&d))
	}
	bom.Components = &components
	var b bytes.Buffer
	if err := cyclonedx.NewBOMEncoder(&b, cyclonedx.BOMFileFormatJSON).SetEscapeHTML(false).EncodeVersion(bom, cyclonedxVersion); err != nil {
		return nil, fmt.Errorf("writing CycloneDX: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// cyclonedxImage is the image itself.
func (d *Document) cyclonedxImage() *cyclonedx.Component {
	c := &cyclonedx.Component{
		BOMRef: "image", Type: cyclonedx.ComponentTypeContainer,
		Name: d.title(), Version: d.Digest, PackageURL: d.purl(),
	}
	if sum := d.sha256(); sum != "" {
		c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: sum}}
	}
	return c
}

func (o *Distribution) cyclonedx() cyclonedx.Component {
	return cyclonedx.Component{
		BOMRef: "operating-system", Type: cyclonedx.ComponentTypeOS,
		Name: o.ID, Version: o.VersionID, Description: o.Name,
	}
}

func (p *Package) cyclonedx(d *Document) cyclonedx.Component {
	c := cyclonedx.Component{
		BOMRef: p.identifier(), Type: cyclonedx.ComponentTypeLibrary,
		Name: p.Name, Version: p.Version, PackageURL: p.PURL,
		Publisher: strings.Join(strings.Fields(p.Supplier), " "),
	}
	if l := parseLicense(p.License); len(l.others) > 0 {
		c.Licenses = &cyclonedx.Licenses{{License: &cyclonedx.License{Name: p.License}}}
	} else if l.expression != "" {
		c.Licenses = &cyclonedx.Licenses{{Expression: l.expression}}
	}
	var found []cyclonedx.EvidenceOccurrence
	for _, l := range p.Locations {
		o := cyclonedx.EvidenceOccurrence{Location: "/" + l.Path}
		if digest := d.layerOf(l); digest != "" {
			o.AdditionalContext = "layer " + digest
		}
		found = append(found, o)
	}
	c.Evidence = &cyclonedx.Evidence{Occurrences: &found}
	return c
}
