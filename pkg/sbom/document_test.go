package sbom

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdxlib"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/tree"
)

// example is an image with packages of several kinds, whose files come in the order in which they
// are given.
func example(t *testing.T, order func([]layer.File)) (*Inventory, layer.Layer) {
	t.Helper()
	var r recorder
	files := []layer.File{
		r.file("etc/os-release", 0o644, "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
		r.file("var/lib/dpkg/status", 0o644, status("libstdc++6", "12.2.0-14", installed)+
			"Package: bash\nStatus: install ok installed\nMaintainer: Matthias Klose <doko@debian.org>\nArchitecture: amd64\nVersion: 5.2.15-2+b8\n\n"),
		r.file("app/node_modules/@scope/one/package.json", 0o644, `{"name":"@scope/one","version":"1.0.0","license":"(MIT OR Apache-2.0)"}`),
		r.file("app/node_modules/two/package.json", 0o644, `{"name":"two","version":"2.0.0","license":"SEE LICENSE IN <file>"}`),
	}
	order(files)
	l := newLayer(t, files...)
	return scanned(t, tree.New(l), newState(t)), l
}

func exampleDocument(l layer.Layer) Document {
	return Document{
		Name:    "registry.example/team/app:1.0",
		Digest:  "sha256:" + strings.Repeat("ab", 32),
		Created: time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)),
		Version: "v1.2.3",
		LayerDigest: func(x layer.Layer) string {
			if x == l {
				return "sha256:" + strings.Repeat("cd", 32)
			}
			return ""
		},
	}
}

func asGiven([]layer.File) {}

// The same image gives the same bytes, whatever order things come in; another image, or another time,
// gives another document.
func TestDocumentsAreReproducible(t *testing.T) {
	for _, format := range []struct {
		name  string
		write func(*Inventory, Document) ([]byte, error)
	}{
		{"SPDX", (*Inventory).SPDX},
		{"CycloneDX", (*Inventory).CycloneDX},
	} {
		t.Run(format.name, func(t *testing.T) {
			write := func(order func([]layer.File), change func(*Document)) string {
				inv, l := example(t, order)
				d := exampleDocument(l)
				change(&d)
				data, err := format.write(inv, d)
				if err != nil {
					t.Fatal(err)
				}
				return string(data)
			}
			same := func(*Document) {}
			first := write(asGiven, same)
			for range 3 {
				if diff := cmp.Diff(first, write(slices.Reverse, same)); diff != "" {
					t.Fatalf("another document of the same:\n%s", diff)
				}
			}
			for name, change := range map[string]func(*Document){
				"digest": func(d *Document) { d.Digest = "sha256:" + strings.Repeat("ef", 32) },
				"time":   func(d *Document) { d.Created = d.Created.Add(time.Second) },
				"name":   func(d *Document) { d.Name = "other" },
			} {
				if id(t, write(asGiven, change)) == id(t, first) {
					t.Errorf("another %s gives a document with the same identity", name)
				}
			}
		})
	}
}

// id is what a document says that it is.
func id(t *testing.T, document string) string {
	t.Helper()
	var d struct{ DocumentNamespace, SerialNumber string }
	if err := json.Unmarshal([]byte(document), &d); err != nil {
		t.Fatal(err)
	}
	if d.DocumentNamespace+d.SerialNumber == "" {
		t.Fatal("the document has no identity")
	}
	return d.DocumentNamespace + d.SerialNumber
}

// SPDX's own library reads the document and finds nothing wrong with it.
func TestSPDXValidates(t *testing.T) {
	inv, l := example(t, asGiven)
	data, err := inv.SPDX(exampleDocument(l))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := spdxjson.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(doc); err != nil {
		t.Error(err)
	}
	described, err := spdxlib.GetDescribedPackageIDs(doc)
	if err != nil || len(described) != 1 || described[0] != spdxImage {
		t.Errorf("describes %q, %v", described, err)
	}
	if doc.SPDXVersion != "SPDX-2.3" || doc.DataLicense != "CC0-1.0" || doc.CreationInfo.Created != "2026-01-02T02:04:05Z" {
		t.Errorf("version %s, data license %s, created %s", doc.SPDXVersion, doc.DataLicense, doc.CreationInfo.Created)
	}
	seen := map[spdx.ElementID]bool{}
	var got []string
	for _, p := range doc.Packages {
		if seen[p.PackageSPDXIdentifier] {
			t.Errorf("%s is there twice", p.PackageSPDXIdentifier)
		}
		seen[p.PackageSPDXIdentifier] = true
		locator := ""
		for _, ref := range p.PackageExternalReferences {
			locator += ref.Category + " " + ref.RefType + " " + ref.Locator
		}
		got = append(got, fmt.Sprintf("%s | %s | %s | %s | %s", p.PackageName, p.PackageVersion, p.PackageLicenseDeclared, p.PackageSourceInfo, locator))
	}
	const layer = " of layer sha256:" + "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
	want := []string{
		"registry.example/team/app:1.0 | sha256:" + strings.Repeat("ab", 32) + " | NOASSERTION |  | PACKAGE-MANAGER purl pkg:oci/app@sha256:" +
			strings.Repeat("ab", 32) + "?repository_url=registry.example%2Fteam%2Fapp&tag=1.0",
		"debian | 12 | NOASSERTION |  | ",
		"bash | 5.2.15-2+b8 | NOASSERTION | found in /var/lib/dpkg/status" + layer + " | PACKAGE-MANAGER purl pkg:deb/debian/bash@5.2.15-2%2Bb8?arch=amd64&distro=bookworm",
		"libstdc++6 | 12.2.0-14 | NOASSERTION | found in /var/lib/dpkg/status" + layer + " | PACKAGE-MANAGER purl pkg:deb/debian/libstdc%2B%2B6@12.2.0-14?arch=amd64&distro=bookworm",
		"@scope/one | 1.0.0 | (MIT OR Apache-2.0) | found in /app/node_modules/@scope/one/package.json" + layer + " | PACKAGE-MANAGER purl pkg:npm/%40scope/one@1.0.0",
		"two | 2.0.0 | LicenseRef-9a3e20af0f29141c | found in /app/node_modules/two/package.json" + layer + " | PACKAGE-MANAGER purl pkg:npm/two@2.0.0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if len(doc.OtherLicenses) != 1 || doc.OtherLicenses[0].ExtractedText != "SEE LICENSE IN <file>" {
		t.Errorf("other licences: %+v", doc.OtherLicenses)
	}
}

// CycloneDX's own library reads the document back.
func TestCycloneDXDecodes(t *testing.T) {
	inv, l := example(t, asGiven)
	data, err := inv.CycloneDX(exampleDocument(l))
	if err != nil {
		t.Fatal(err)
	}
	var bom cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(data), cyclonedx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if bom.SpecVersion != cyclonedxVersion || !strings.HasPrefix(bom.SerialNumber, "urn:uuid:") || bom.Metadata.Timestamp != "2026-01-02T02:04:05Z" {
		t.Errorf("version %v, serial number %s, time %s", bom.SpecVersion, bom.SerialNumber, bom.Metadata.Timestamp)
	}
	var got []string
	for _, c := range *bom.Components {
		line := string(c.Type) + " " + c.Name + " " + c.Version + " " + c.Publisher
		if c.Licenses != nil {
			for _, l := range *c.Licenses {
				line += " expression:" + l.Expression
				if l.License != nil {
					line += " name:" + l.License.Name
				}
			}
		}
		if c.Evidence != nil {
			for _, o := range *c.Evidence.Occurrences {
				line += " " + o.Location + " " + o.AdditionalContext[:12]
			}
		}
		got = append(got, line)
	}
	want := []string{
		"operating-system debian 12 ",
		"library bash 5.2.15-2+b8 Matthias Klose <doko@debian.org> /var/lib/dpkg/status layer sha256",
		"library libstdc++6 12.2.0-14  /var/lib/dpkg/status layer sha256",
		"library @scope/one 1.0.0  expression:(MIT OR Apache-2.0) /app/node_modules/@scope/one/package.json layer sha256",
		"library two 2.0.0  expression: name:SEE LICENSE IN <file> /app/node_modules/two/package.json layer sha256",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
}

func TestParseLicense(t *testing.T) {
	for _, test := range []struct {
		raw, want string
		others    []string
	}{
		{raw: "", want: ""},
		{raw: "UNKNOWN", want: ""},
		{raw: "MIT", want: "MIT"},
		{raw: "apache-2.0", want: "Apache-2.0"},
		{raw: "GPL-2.0-only AND (MIT OR BSD-3-Clause)", want: "GPL-2.0-only AND (MIT OR BSD-3-Clause)"},
		{raw: "(MIT or ISC) and (Zlib)", want: "(MIT OR ISC) AND (Zlib)"},
		{raw: "Apache-1.0+", want: "Apache-1.0+"},
		{raw: "GPL-2.0-or-later WITH GCC-exception-3.1", want: "GPL-2.0-or-later WITH GCC-exception-3.1"},
		{raw: "MIT AND custom", want: "MIT AND LicenseRef-custom", others: []string{"custom"}},
		{raw: "LicenseRef-mine", want: "LicenseRef-mine", others: []string{"LicenseRef-mine"}},
		{raw: "Public Domain", want: licenseRef("Public Domain"), others: []string{"Public Domain"}},
		{raw: "MIT AND", want: licenseRef("MIT AND"), others: []string{"MIT AND"}},
		{raw: "(MIT", want: licenseRef("(MIT"), others: []string{"(MIT"}},
		{raw: "MIT WITH love", want: licenseRef("MIT WITH love"), others: []string{"MIT WITH love"}},
	} {
		got := parseLicense(test.raw)
		var others []string
		for _, text := range got.others {
			others = append(others, text)
		}
		if got.expression != test.want || !slices.Equal(others, test.others) {
			t.Errorf("%q: %q %q, want %q %q", test.raw, got.expression, others, test.want, test.others)
		}
	}
	deep := parseLicense(strings.Repeat("(", 1<<20))
	if len(deep.expression) > 100 {
		t.Errorf("a hostile licence gives %d bytes", len(deep.expression))
	}
}
