package output_test

import (
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/internal/testbase/distribution"
	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/output"
	"github.com/slipway-build/slipway/pkg/tree"
)

func TestPushToDistribution(t *testing.T) {
	registry := distribution.Serve(t)
	host := registry.Host
	for name, b := range map[string]*image.Built{
		"image":  app(t),
		"index":  simple(t, []layer.Layer{layerOf(t, file("x", "y"))}, amd64, arm),
		"docker": build(t, image.Spec{Platforms: []image.Platform{{Platform: amd64, Tree: treeOf(t, "a", "b")}}, Options: image.Options{Docker: true}}),
	} {
		t.Run(name, func(t *testing.T) {
			ref := host + "/team/" + name + ":1"
			must[*output.Result](t)(push(t, newClient(t), b, ref, host+"/other/"+name+":1"))
			if b.Index() != nil {
				if err := validate.Index(must[v1.ImageIndex](t)(remote.Index(parse(t, ref)))); err != nil {
					t.Error(err)
				}
			} else if err := validate.Image(must[v1.Image](t)(remote.Image(parse(t, ref)))); err != nil {
				t.Error(err)
			}
			to := t.TempDir()
			skopeo(t, "copy", "--all", "--src-tls-verify=false", "docker://"+ref, "dir:"+to)
			// A build on top of it, in another repository of the same registry.
			platform := op.Platform{OS: "linux", Architecture: "amd64"}
			c := newClient(t)
			pinned, _, config, err := c.ResolveImage(t.Context(), ref, platform, "", "")
			if err != nil {
				t.Fatal(err)
			}
			layers := must[[]layer.Layer](t)(c.Layers(t.Context(), &op.Image{Ref: pinned, Platform: platform}))
			layers = append(layers, layerOf(t, file("more", name)))
			derived := build(t, image.Spec{Platforms: []image.Platform{{Platform: amd64, Config: config, Base: config, Tree: tree.New(layers...)}}})
			must[*output.Result](t)(push(t, c, derived, host+"/derived/"+name+":1"))
			if err := validate.Image(must[v1.Image](t)(remote.Image(parse(t, host+"/derived/"+name+":1")))); err != nil {
				t.Error(err)
			}
		})
	}
	// Uploads that were begun and given up would lie here.
	left, err := filepath.Glob(filepath.Join(registry.Storage, "docker/registry/v2/repositories/*/*/_uploads/*"))
	if err != nil || len(left) != 0 {
		t.Errorf("uploads were left: %v, %v", strings.Join(left, " "), err)
	}
}
