package tekton_test

import (
	"reflect"
	"slices"
	"testing"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"github.com/tektoncd/pipeline/pkg/apis/pipeline/v1beta1"

	"github.com/slipway-build/slipway/test/tekton/definition"
)

// attesting are the parameters of builds about what they attest, and signing those about signatures.
func attesting() []string { return []string{"HERMETIC", "PROVENANCE", "SBOM"} }

func signing() []string {
	return []string{"SIGN", "SIGN_FORMAT", "FULCIO_URL", "REKOR_URL", "TSA_URL"}
}

// ourUses are the references of each Pipeline to definitions of ours, with these.
func ourUses(t *testing.T, see func(t *testing.T, p *v1.Pipeline, u use, object definition.Object)) {
	t.Helper()
	found := all(t)
	for _, d := range found {
		p, ok := d.Object.(*v1.Pipeline)
		if !ok || d.IsSample() {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			for _, u := range usesIn(d) {
				if object, ours := u.find(t, found); ours {
					see(t, p, u, object)
				}
			}
		})
	}
}

// TestPipelinesAttestAndSign wants what builds attest, and with which commit, from the Pipeline's parameters, and
// signatures from the one task that gives the image its name.
func TestPipelinesAttestAndSign(t *testing.T) {
	signer := map[string]string{"clone-build-push": "slipway", "multi-arch": "slipway-index", "build-test-promote": "slipway-index"}
	builds, signs := 0, 0
	ourUses(t, func(t *testing.T, p *v1.Pipeline, u use, object definition.Object) {
		given := map[string]string{}
		for _, param := range u.params {
			given[param.Name] = param.Value.StringVal
		}
		name := object.GetName()
		var want []string
		if name == "slipway" {
			builds++
			want = attesting()
			if given["VCS_SOURCE"] == "" || given["VCS_REVISION"] == "" {
				t.Errorf("the build is not told its commit: %q", given)
			}
		}
		if name == signer[p.Name] {
			signs++
			want = append(want, signing()...)
		}
		for _, param := range slices.Concat(attesting(), signing()) {
			value, ok := given[param]
			if ok != slices.Contains(want, param) {
				t.Errorf("%s gets %s: %v", name, param, ok)
			}
			if ok && value != "$(params."+param+")" {
				t.Errorf("%s gets %s as %s", name, param, value)
			}
		}
		if bound := slices.Contains(u.workspaces, "signing"); bound != (name == signer[p.Name]) {
			t.Errorf("%s has the workspace signing: %v", name, bound)
		}
	})
	if builds != len(signer) || signs != len(signer) {
		t.Errorf("%d builds and %d that sign were found in %d Pipelines", builds, signs, len(signer))
	}
}

// TestPipelinesKeepDefaults wants a Pipeline's parameter to mean what the one means that it is given for, also if it is
// left out. Only a matrix has platforms of its own.
func TestPipelinesKeepDefaults(t *testing.T) {
	compared := 0
	ourUses(t, func(t *testing.T, p *v1.Pipeline, u use, object definition.Object) {
		var specs v1.ParamSpecs
		switch object := object.(type) {
		case *v1.Task:
			specs = object.Spec.Params
		case *v1beta1.StepAction:
			specs = object.Spec.Params
		}
		for _, param := range u.params {
			outer := spec(p.Spec.Params, param.Name)
			inner := spec(specs, param.Name)
			if param.Name == "PLATFORMS" || outer == nil || inner == nil || outer.Default == nil || inner.Default == nil {
				continue
			}
			if value := param.Value.StringVal; value != "$(params."+param.Name+")" && value != "$(params."+param.Name+"[*])" {
				continue
			}
			compared++
			if !reflect.DeepEqual(outer.Default, inner.Default) {
				t.Errorf("%s is %+v if it is left out, that of %s is %+v", param.Name, outer.Default, object.GetName(), inner.Default)
			}
		}
	})
	if compared == 0 {
		t.Error("there was nothing to compare")
	}
}

func spec(specs v1.ParamSpecs, name string) *v1.ParamSpec {
	if i := slices.IndexFunc(specs, func(s v1.ParamSpec) bool { return s.Name == name }); i >= 0 {
		return &specs[i]
	}
	return nil
}
