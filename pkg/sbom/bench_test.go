package sbom

import "testing"

// BenchmarkScan looks for the packages of a minimal Debian root filesystem, whose layer is there as a tar.
func BenchmarkScan(b *testing.B) {
	s := newState(b)
	tr := debian(b, s)
	packages := 0
	b.ReportAllocs()
	for b.Loop() {
		inv, err := Scan(b.Context(), tr, Options{State: s})
		if err != nil {
			b.Fatal(err)
		}
		packages = len(inv.packages)
	}
	b.ReportMetric(float64(packages), "packages")
}

// BenchmarkDocuments writes down the packages of a minimal Debian root filesystem.
func BenchmarkDocuments(b *testing.B) {
	s := newState(b)
	inv, err := Scan(b.Context(), debian(b, s), Options{State: s})
	if err != nil {
		b.Fatal(err)
	}
	for name, write := range map[string]func(*Inventory, Document) ([]byte, error){
		"SPDX": (*Inventory).SPDX, "CycloneDX": (*Inventory).CycloneDX,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				data, err := write(inv, Document{Name: "registry.example/debian:12"})
				if err != nil {
					b.Fatal(err)
				}
				b.SetBytes(int64(len(data)))
			}
		})
	}
}
