package argo

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// The main containers fit the levels of Pod Security that the README names. Argo's own containers are the
// installation's business.
func TestPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		template string
		sign     string
		fits     api.Level
		not      api.Level
	}{
		{template: "build", fits: api.LevelBaseline, not: api.LevelRestricted},
		{template: "build", sign: "keyless", fits: api.LevelBaseline, not: api.LevelRestricted},
		{template: "index", fits: api.LevelRestricted},
		{template: "index", sign: "key", fits: api.LevelRestricted},
		{template: "index", sign: "keyless", fits: api.LevelRestricted},
		{template: "cache-warm", fits: api.LevelRestricted},
	} {
		tmpl := templateNamed(t, slipway(t), test.template)
		spec := podOf(t, instance(t, tmpl, values(map[string]string{"image": "r/i:1", "images": "[]", "claim": "c", "sign": test.sign}), nil))
		spec.InitContainers, spec.Containers = nil, []corev1.Container{mainOf(t, spec)}
		allowed := func(level api.Level) bool {
			results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &metav1.ObjectMeta{}, spec)
			all := policy.AggregateCheckResults(results)
			if level == test.fits && !all.Allowed {
				t.Errorf("%s: %s", test.template, all.ForbiddenDetail())
			}
			return all.Allowed
		}
		allowed(test.fits)
		if test.not != "" && allowed(test.not) {
			t.Errorf("%s fits %s, which the README denies", test.template, test.not)
		}
		// The admission plugin ServiceAccount mounts the token where nothing is mounted at this place.
		if !slices.ContainsFunc(spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount"
		}) {
			t.Errorf("%s: the main container gets the token of the service account", test.template)
		}
	}
}
