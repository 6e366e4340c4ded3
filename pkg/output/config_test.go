package output_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/pkg/compression"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/output"
)

func TestParse(t *testing.T) {
	yes, no := true, false
	second := time.Unix(1, 0).UTC()
	for in, want := range map[string]output.Config{
		"out":                                   {Type: output.TypeLocal, Dest: "out"},
		"a=b":                                   {Type: output.TypeLocal, Dest: "a=b"},
		"./a dir":                               {Type: output.TypeLocal, Dest: "./a dir"},
		"-":                                     {Type: output.TypeTar, Dest: "-"},
		"type=local,dest=x":                     {Type: output.TypeLocal, Dest: "x"},
		"type=local,dest=x,platform-split=true": {Type: output.TypeLocal, Dest: "x", Split: &yes},
		"type=local,dest=x,mode=copy,platform-split=0": {Type: output.TypeLocal, Dest: "x", Split: &no},
		"type=tar,dest=-":                       {Type: output.TypeTar, Dest: "-"},
		"type=oci,dest=a.tar":                   {Type: output.TypeOCI, Dest: "a.tar"},
		"type=oci,dest=dir,tar=false":           {Type: output.TypeOCI, Dest: "dir", Directory: true},
		"type=docker,dest=-,name=app:1":         {Type: output.TypeDocker, Dest: "-", Names: []string{"app:1"}},
		`type=oci,dest=x,"name=a,b"`:            {Type: output.TypeOCI, Dest: "x", Names: []string{"a", "b"}},
		"type=registry":                         {Type: output.TypeRegistry},
		"type=registry,push=true":               {Type: output.TypeRegistry},
		"type=image,push=true,name=r.example/a": {Type: output.TypeRegistry, Names: []string{"r.example/a"}},
		"type=image,push=true,push-by-digest=true,registry.insecure=true": {
			Type: output.TypeRegistry, ByDigest: true, Insecure: true},
		"TYPE=registry,Compression=zstd,compression-level=3": {Type: output.TypeRegistry,
			Image: image.Options{Compression: compression.Options{Algorithm: compression.Zstd, Level: 3}}},
		"type=registry,compression-level=0": {Type: output.TypeRegistry,
			Image: image.Options{Compression: compression.Options{Level: compression.Stored}}},
		"type=registry,compression-level=0,compression=zstd": {Type: output.TypeRegistry,
			Image: image.Options{Compression: compression.Options{Algorithm: compression.Zstd, Level: 1}}},
		"type=registry,oci-mediatypes=false":       {Type: output.TypeRegistry, Image: image.Options{Docker: true}},
		"type=registry,oci-mediatypes=true":        {Type: output.TypeRegistry},
		"type=registry,rewrite-timestamp=false":    {Type: output.TypeRegistry, Image: image.Options{KeepLayerTimes: true}},
		"type=registry,source-date-epoch=1":        {Type: output.TypeRegistry, Image: image.Options{OwnEpoch: true, Epoch: &second}},
		"type=local,dest=d,source-date-epoch=":     {Type: output.TypeLocal, Dest: "d", Image: image.Options{OwnEpoch: true}},
		"type=registry,prefer-nondist-layers=true": {Type: output.TypeRegistry, Image: image.Options{KeepForeign: true}},
		"type=registry,force-compression=false":    {Type: output.TypeRegistry},
		"type=registry,annotation.Key=V,annotation-index.i=w": {Type: output.TypeRegistry, Image: image.Options{Annotations: []image.Annotation{
			{Target: image.OnManifest, Key: "Key", Value: "V"}, {Target: image.OnIndex, Key: "i", Value: "w"}}}},
		`type=registry,"annotation[linux/amd64].k=a,b=c"`: {Type: output.TypeRegistry, Image: image.Options{Annotations: []image.Annotation{
			{Target: image.OnManifest, Platform: "linux/amd64", Key: "k", Value: "a,b=c"}}}},
	} {
		got, err := output.Parse(in)
		if err != nil {
			t.Error(err)
			continue
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", in, *got, want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for in, says := range map[string]string{
		"":                                   "empty",
		"type=":                              "unknown type",
		"type=oic,dest=x":                    "unknown type",
		"dest=x":                             "type is missing",
		"type=oci":                           "dest is missing",
		"type=docker":                        "no Docker daemon",
		"type=docker,dest=x,tar=false":       "type=oci,tar=false",
		"type=local":                         "dest is missing",
		"type=local,dest=-":                  "type=tar",
		"type=oci,dest=-,tar=false":          "standard output",
		"type=image":                         "push=true",
		"type=image,push=false":              "push=true",
		"type=registry,push=false":           "does nothing",
		"type=registry,dest=x":               "dest makes no sense with type=registry",
		"type=local,dest=x,compression=zstd": "makes no sense",
		"type=tar,dest=x,annotation.k=v":     "make no sense",
		"type=oci,dest=x,push=true":          "makes no sense",
		"type=oci,dest=x,platform-split=1":   "makes no sense",
		"type=oci,desk=x":                    `did you mean "dest"`,
		"type=registry,compression_level=3":  `did you mean "compression-level"`,
		"type=registry,oci-mediatype=true":   `did you mean "oci-mediatypes"`,
		"type=registry,zzzzzzzzzzz=1":        `unknown key "zzzzzzzzzzz"`,
		"type=registry,source-date-epoch=x":  "no number of seconds",
		"type=registry,push":                 "KEY=VALUE",
		"type=registry,push=maybe":           "neither true nor false",
		"type=registry,compression=lzma":     "lzma",
		"type=registry,compression=estargz":  "estargz",
		"type=registry,compression-level=x":  "no number",
		"type=registry,compression-level=10": "out of range",
		"type=registry,compression=zstd,compression-level=23": "out of range",
		"type=registry,force-compression=true":                "not supported",
		"type=local,dest=x,mode=delete":                       "not supported",
		"type=registry,annotation-x.k=v":                      "unknown target",
		`type=registry,"name=a`:                               "quote",
	} {
		c, err := output.Parse(in)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %+v, %v, want an error that says %q", in, c, err, says)
		}
	}
}

func TestWhatHasNoEffectIsSaid(t *testing.T) {
	c, err := output.Parse("type=image,push=true,unpack=true,store=false")
	if err != nil || len(c.Notes) != 2 {
		t.Errorf("got %+v, %v", c, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"out", "-", "type=oci,dest=x,tar=false", `type=registry,"name=a,b"`, "type=image,push=true,annotation[linux/amd64].k=v", `"`, "type=tar,dest"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := output.Parse(s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "--output") {
				t.Errorf("%q: the message does not say where: %v", s, err)
			}
			return
		}
		if c.Type == "" || (c.Type != output.TypeRegistry && c.Dest == "") {
			t.Errorf("%q is accepted as %+v", s, c)
		}
		if err := c.Image.Compression.Validate(); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	})
}
