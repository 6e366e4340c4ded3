package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The parts of an OCI layout that are checked, read without any image library.
type (
	descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int64             `json:"size"`
		Annotations map[string]string `json:"annotations"`
	}
	ociIndex struct {
		Manifests []descriptor `json:"manifests"`
	}
	ociManifest struct {
		Config      descriptor        `json:"config"`
		Layers      []descriptor      `json:"layers"`
		Annotations map[string]string `json:"annotations"`
	}
	ociConfig struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
		Created      string `json:"created"`
		Config       struct {
			User       string            `json:"User"`
			Entrypoint []string          `json:"Entrypoint"`
			Cmd        []string          `json:"Cmd"`
			Env        []string          `json:"Env"`
			WorkingDir string            `json:"WorkingDir"`
			Labels     map[string]string `json:"Labels"`
		} `json:"config"`
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
		History []struct {
			CreatedBy  string `json:"created_by"`
			EmptyLayer bool   `json:"empty_layer"`
		} `json:"history"`
	}
)

// verifiedImage is an image of which every byte has been checked.
type verifiedImage struct {
	digest   string
	manifest ociManifest
	config   ociConfig
}

// verifyLayout reads the one image of an OCI layout, which may have several names, and checks everything in it: the digest and
// size of the manifest, the config and each layer, and that the decompressed layers are those
// of the config.
func verifyLayout(t *testing.T, dir string) verifiedImage {
	t.Helper()
	var index ociIndex
	if err := json.Unmarshal([]byte(read(t, filepath.Join(dir, "index.json"))), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) == 0 {
		t.Fatalf("the layout %s is empty", dir)
	}
	image := verifiedImage{digest: index.Manifests[0].Digest}
	for _, m := range index.Manifests {
		if m.Digest != image.digest {
			t.Fatalf("the layout %s has several images: %+v", dir, index.Manifests)
		}
	}
	decode(t, verifyBlob(t, dir, index.Manifests[0]), &image.manifest)
	decode(t, verifyBlob(t, dir, image.manifest.Config), &image.config)
	diffIDs := image.config.RootFS.DiffIDs
	if len(diffIDs) != len(image.manifest.Layers) {
		t.Fatalf("%d layers, but %d diffIDs", len(image.manifest.Layers), len(diffIDs))
	}
	for n, layer := range image.manifest.Layers {
		content := decompress(t, layer.MediaType, verifyBlob(t, dir, layer))
		if got := sum(content); got != diffIDs[n] {
			t.Errorf("layer %d: its content has the digest %s, the config says %s", n, got, diffIDs[n])
		}
	}
	layers := 0
	for _, h := range image.config.History {
		if !h.EmptyLayer {
			layers++
		}
	}
	if layers != len(diffIDs) {
		t.Errorf("the history has %d layers, the image %d", layers, len(diffIDs))
	}
	return image
}

// verifyBlob reads a blob of a layout and checks its digest and size.
func verifyBlob(t *testing.T, dir string, d descriptor) []byte {
	t.Helper()
	algorithm, hex, ok := strings.Cut(d.Digest, ":")
	if !ok || algorithm != "sha256" {
		t.Fatalf("digest %q", d.Digest)
	}
	data, err := os.ReadFile(filepath.Join(dir, "blobs", algorithm, hex))
	if err != nil {
		t.Fatal(err)
	}
	if got := sum(data); got != d.Digest || int64(len(data)) != d.Size {
		t.Fatalf("a blob of %d bytes is described as %d bytes of %s, but is %s", len(data), d.Size, d.Digest, got)
	}
	return data
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

// decompress undoes the compression that a layer's media type names; zstd with its own tool.
func decompress(t *testing.T, mediaType string, data []byte) []byte {
	t.Helper()
	switch {
	case strings.HasSuffix(mediaType, "gzip"):
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return content
	case strings.HasSuffix(mediaType, "zstd"):
		needTool(t, "zstd")
		cmd := exec.CommandContext(t.Context(), "zstd", "-d", "-c")
		cmd.Stdin = bytes.NewReader(data)
		content, err := cmd.Output()
		if err != nil {
			t.Fatalf("zstd: %v", err)
		}
		return content
	case strings.HasSuffix(mediaType, "tar"):
		return data
	}
	t.Fatalf("layer of media type %q", mediaType)
	return nil
}

func sum(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }
