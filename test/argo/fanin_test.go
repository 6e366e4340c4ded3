package argo

import (
	"maps"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/test/pod"
)

// One image for each architecture, from pods that want nodes of that kind, and an index of them whose
// digest is the template's output.
func TestMultiArch(t *testing.T) {
	registry := serveRegistry(t)
	image, second := registry+"/team/app:v1", registry+"/team/app:latest"
	source := archive(t, map[string]string{
		"Dockerfile": "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n", "amd64": "for amd64\n", "arm64": "for arm64\n",
	})
	arguments := argumentsOf(map[string]string{
		"image": image, "tags": `["` + second + `"]`, "labels": `["team=a"]`, "index-annotations": `["commit=0123"]`,
	}, source)
	pods, outputs := runSteps(t, node{shape: pod.Baseline()}, slipway(t), "multi-arch", arguments)
	for _, p := range pods {
		if p.outcome.exitCode != 0 {
			t.Fatalf("%s: exit code %d\n%s", p.step, p.outcome.exitCode, p.outcome.log)
		}
	}
	if len(pods) != 3 {
		t.Fatalf("%d pods", len(pods))
	}
	index, err := descriptorOf(t, image).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 2 || manifest.Annotations["commit"] != "0123" {
		t.Fatalf("the index is %+v", manifest)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		if got := pods[i].spec.NodeSelector["kubernetes.io/arch"]; got != arch {
			t.Errorf("the pod for %s wants a node for %q", arch, got)
		}
		entry := manifest.Manifests[i]
		if entry.Platform == nil || entry.Platform.String() != "linux/"+arch {
			t.Errorf("entry %d is for %v", i, entry.Platform)
		}
		leg := imageOf(t, image+"-"+arch)
		if digest, err := leg.Digest(); err != nil || digest != entry.Digest {
			t.Errorf("entry %d is %s, not %s (%v)", i, entry.Digest, digest, err)
		}
		if files := filesOf(t, leg); files[arch] != "for "+arch+"\n" || len(files) != 1 {
			t.Errorf("the image for %s has %v", arch, files)
		}
	}
	digest := descriptorOf(t, second).Digest.String()
	want := map[string]string{
		"image-url":    image,
		"image-digest": digest,
		"image-ref":    image + "@" + digest,
		"images":       image + "@" + digest + "," + second + "@" + digest,
	}
	if !maps.Equal(outputs, want) {
		t.Errorf("outputs\n%v\nwant\n%v", outputs, want)
	}
}

// If an architecture is missing that was asked for, there is no index.
func TestIndexFails(t *testing.T) {
	registry := serveRegistry(t)
	tmpl := instance(t, templateNamed(t, slipway(t), "index"), values(map[string]string{
		"image": registry + "/app:1", "images": `["` + registry + `/base:1"]`, "platforms": `["amd64","riscv64"]`,
	}), nil)
	o := node{shape: pod.Restricted()}.run(t, podOf(t, tmpl))
	if o.exitCode != 1 || !strings.Contains(o.outputs["error-message"], "riscv64") || o.outputs["error-reason"] == "" || o.outputs["image-ref"] != "" {
		t.Errorf("exit code %d, outputs %v\n%s", o.exitCode, o.outputs, o.log)
	}
}
