package argo

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// The main containers fit the levels of Pod Security that the README names. Argo's own containers are the
// installation's business.
func TestPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		template   string
		sign       string
		restricted string
		fits       api.Level
		not        api.Level
	}{
		{template: "build", fits: api.LevelBaseline, not: api.LevelRestricted},
		{template: "build", sign: "keyless", fits: api.LevelBaseline, not: api.LevelRestricted},
		{template: "build", restricted: "false", fits: api.LevelBaseline, not: api.LevelRestricted},
		{template: "build", restricted: "true", fits: api.LevelRestricted},
		{template: "build", restricted: "true", sign: "key", fits: api.LevelRestricted},
		{template: "build", restricted: "true", sign: "keyless", fits: api.LevelRestricted},
		{template: "index", fits: api.LevelRestricted},
		{template: "index", sign: "key", fits: api.LevelRestricted},
		{template: "index", sign: "keyless", fits: api.LevelRestricted},
		{template: "cache-warm", fits: api.LevelRestricted},
	} {
		tmpl := templateNamed(t, slipway(t), test.template)
		parameters := map[string]string{"image": "r/i:1", "images": "[]", "claim": "c", "sign": test.sign}
		if test.restricted != "" {
			parameters["restricted"] = test.restricted
		}
		spec := podOf(t, instance(t, tmpl, values(parameters), nil))
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

// executorContext is what the README has the controller's configuration give to Argo's own containers.
func executorContext(t *testing.T) *corev1.SecurityContext {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(top, "argo/slipway/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(executor: \\|\n.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("the README says nothing of the executor")
	}
	var configMap struct{ Executor string }
	if err := yaml.UnmarshalStrict(block[1], &configMap); err != nil {
		t.Fatal(err)
	}
	var executor corev1.Container
	if err := yaml.UnmarshalStrict([]byte(configMap.Executor), &executor); err != nil {
		t.Fatal(err)
	}
	return executor.SecurityContext
}

// A whole pod fits the level restricted if Argo is configured as the README says, and the template is told to; if one of
// the two is missing, it does not.
func TestPodSecurityOfWholePods(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name       string
		restricted string
		executor   *corev1.SecurityContext
		forbidden  string // the container that is the reason; "" if the pod fits
	}{
		{"both", "true", executorContext(t), ""},
		{"without the configuration", "true", nil, "wait"},
		{"without the parameter", "false", executorContext(t), "main"},
	} {
		t.Run(test.name, func(t *testing.T) {
			parameters := values(map[string]string{"image": "r/i:1", "restricted": test.restricted})
			spec := podOf(t, instance(t, templateNamed(t, slipway(t), "build"), parameters, nil))
			for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
				for i := range containers {
					if containers[i].Name != "main" {
						containers[i].SecurityContext = test.executor
					}
				}
			}
			results := evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &metav1.ObjectMeta{}, spec)
			all := policy.AggregateCheckResults(results)
			if all.Allowed != (test.forbidden == "") || !strings.Contains(all.ForbiddenDetail(), test.forbidden) {
				t.Errorf("it fits: %t, %s", all.Allowed, all.ForbiddenDetail())
			}
		})
	}
}
