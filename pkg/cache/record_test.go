package cache_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-build/slipway/pkg/cache"
	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
)

func sampleRecord() *cache.Record {
	hash := func(c string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat(c, 64)} }
	index := v1.Descriptor{MediaType: "application/vnd.slipway.layer.index.v1", Digest: hash("b"), Size: 20}
	return &cache.Record{
		Key: op.Key{1}, Reads: cache.Identity{2}, Created: time.Unix(1_700_000_000, 5).UTC(), Step: "[build 2/3] RUN make",
		Outputs: []cache.Output{
			{Base: cache.Identity{3}, Layer: v1.Descriptor{MediaType: types.OCILayer, Digest: hash("a"), Size: 10}, DiffID: hash("c"), Index: index, Content: layer.Sum{4}},
			{
				Layer: v1.Descriptor{MediaType: types.OCILayerZStd, Digest: hash("d"), Size: 0}, DiffID: hash("e"), Index: index,
				Form: layer.Form{Compression: compression.Options{Algorithm: compression.Zstd, Level: 19}, Epoch: time.Unix(1_600_000_000, 0).UTC()},
			},
		},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	want := sampleRecord()
	raw := try(want.Marshal())(t)
	if got := try(cache.Unmarshal(raw))(t); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, expected %+v", got, want)
	}
	// What registries ask of a manifest (OCI image spec, manifest.md).
	m := try(v1.ParseManifest(bytes.NewReader(raw)))(t)
	if m.SchemaVersion != 2 || m.MediaType != types.OCIManifestSchema1 || len(m.Layers) != 4 || m.Config.Size != 2 {
		t.Errorf("the manifest is %+v", m)
	}
}

func TestRecordRefusals(t *testing.T) {
	raw := string(try(sampleRecord().Marshal())(t))
	for name, replace := range map[string][2]string{
		"no outputs":         {`\"outputs\":[`, `\"outputs\":[],\"x\":[`},
		"key too short":      {`\"key\":\"01`, `\"key\":\"`},
		"key no hexadecimal": {`\"key\":\"01`, `\"key\":\"zz`},
		"other digest":       {`sha256:aa`, `sha512:aa`},
		"no digest":          {`sha256:aa`, `sha256:/../`},
		"negative size":      {`"size":10`, `"size":-1`},
		"unknown form":       {`zstd:19`, `rot13`},
		"level out of range": {`zstd:19`, `zstd:99`},
		"layer is no layer":  {`application/vnd.oci.image.layer.v1.tar+gzip`, `text/html`},
		"index is no index":  {`application/vnd.slipway.layer.index.v1`, `text/html`},
		"other artifact":     {`"artifactType":"application/vnd.slipway.cache.record.v1"`, `"artifactType":"x"`},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(raw, replace[0], replace[1], 1)
			if changed == raw {
				t.Fatalf("%s is not in\n%s", replace[0], raw)
			}
			if r, err := cache.Unmarshal([]byte(changed)); err == nil {
				t.Errorf("it was accepted: %+v", r)
			}
		})
	}
	if _, err := cache.Unmarshal(make([]byte, 2<<20)); err == nil {
		t.Error("a huge one was accepted")
	}
}

// Whatever is in a store: no panic, and what is accepted can be written again.
func FuzzUnmarshal(f *testing.F) {
	raw, err := sampleRecord().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := cache.Unmarshal(data)
		if err != nil {
			return
		}
		again, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if same, err := cache.Unmarshal(again); err != nil || !reflect.DeepEqual(r, same) {
			t.Errorf("%+v became %+v (%v)", r, same, err)
		}
	})
}
