package output_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-build/slipway/pkg/image"
	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/output"
	"github.com/slipway-build/slipway/pkg/tree"
)

// distribution starts the CNCF's registry, which most others are made from, and returns its
// host and the directory that it keeps blobs in.
func distribution(t *testing.T) (host, storage string) {
	t.Helper()
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed (Debian's package of that name)")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host = l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	storage = filepath.Join(dir, "storage")
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %q}\n", storage, host)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, bin, "serve", file)
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	for range 200 {
		resp, err := http.Get("http://" + host + "/v2/")
		if err == nil {
			if err := resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
			return host, storage
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatal("docker-registry does not answer")
	return "", ""
}

func TestPushToDistribution(t *testing.T) {
	host, storage := distribution(t)
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
	left, err := filepath.Glob(filepath.Join(storage, "docker/registry/v2/repositories/*/*/_uploads/*"))
	if err != nil || len(left) != 0 {
		t.Errorf("uploads were left: %v, %v", strings.Join(left, " "), err)
	}
}
