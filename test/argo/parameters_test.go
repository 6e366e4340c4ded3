package argo

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// Whatever a parameter is set to reaches the pod, and the pod has no placeholder left.
func TestEveryParameterCounts(t *testing.T) {
	w := slipway(t)
	for _, name := range []string{"build", "index", "cache-warm"} {
		tmpl := templateNamed(t, w, name)
		required := map[string]string{}
		for _, p := range tmpl.Inputs.Parameters {
			if p.Value == nil {
				required[p.Name] = "r/i:1"
			}
		}
		render := func(given map[string]string) string {
			all := maps.Clone(required)
			maps.Copy(all, given)
			data, err := json.Marshal(podOf(t, instance(t, tmpl, values(all), nil)))
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
		usual := render(nil)
		if strings.Contains(usual, "{{") {
			t.Errorf("%s: a placeholder is left in %s", name, usual)
		}
		for _, p := range tmpl.Inputs.Parameters {
			if p.Description == nil || *p.Description == "" {
				t.Errorf("%s: %s has no description", name, p.Name)
			}
			const value = "value-of-a-parameter"
			got := render(map[string]string{p.Name: value})
			switch {
			case p.Name == "user-namespace":
				if got != usual {
					t.Errorf("%s: %s=%s makes a difference", name, p.Name, value)
				}
				if got := render(map[string]string{p.Name: "true"}); !strings.Contains(got, `"hostUsers":false`) {
					t.Errorf("%s: %s does not reach the pod", name, p.Name)
				}
			case p.Name == "restricted":
				if got != usual {
					t.Errorf("%s: %s=%s makes a difference", name, p.Name, value)
				}
				if got := render(map[string]string{p.Name: "true"}); !strings.Contains(got, `"runAsNonRoot":true`) {
					t.Errorf("%s: %s does not reach the pod", name, p.Name)
				}
			case p.Name == "signing-secret":
				if got != usual {
					t.Errorf("%s: %s=%s makes a difference without a signature", name, p.Name, value)
				}
				for _, method := range []string{"key", "keyless"} {
					if got := render(map[string]string{p.Name: value, "sign": method}); !strings.Contains(got, value) {
						t.Errorf("%s: %s does not reach the pod that signs: %s", name, p.Name, method)
					}
				}
			case !strings.Contains(got, value):
				t.Errorf("%s: %s does not reach the pod", name, p.Name)
			}
		}
	}
}

// A value cannot become more than a value, however it is spelled.
func TestParametersStayValues(t *testing.T) {
	const hostile = `"}],"hostNetwork":true,"x":[{"y":"` + "\n--target=x\n'$(id)' \\\" {{inputs.parameters.image}}"
	tmpl := templateNamed(t, slipway(t), "build")
	render := func(name, value string) *corev1.PodSpec {
		all := map[string]string{"image": "r/i:1", "sign": "key"}
		all[name] = value
		return podOf(t, instance(t, tmpl, values(all), nil))
	}
	usual := render("image", "r/i:1")
	for _, p := range tmpl.Inputs.Parameters {
		got := render(p.Name, hostile)
		if got.HostNetwork {
			t.Errorf("%s can ask for the node's network", p.Name)
		}
		was, is := mainOf(t, usual), mainOf(t, got)
		if len(was.Args) != len(is.Args) || !reflect.DeepEqual(was.Command, is.Command) {
			t.Errorf("%s changes the number of arguments", p.Name)
			continue
		}
		for i, a := range is.Args {
			flag, _, _ := strings.Cut(was.Args[i], "=")
			if !strings.HasPrefix(a, flag) {
				t.Errorf("%s makes %q of %q", p.Name, a, was.Args[i])
			}
		}
	}
}

// The two parameters that change the pod itself leave alone what a workflow's own podSpecPatch says.
func TestPodSpecPatch(t *testing.T) {
	example := readManifests(t).workflows["examples/argo/user-namespace.yaml"]
	if example == nil {
		t.Fatal("the example for user namespaces is not there")
	}
	no := false
	for _, test := range []struct {
		name       string
		parameters map[string]string
		patch      string
		hostUsers  *bool
		selector   map[string]string
	}{
		{name: "nothing"},
		{name: "user namespace", parameters: map[string]string{"user-namespace": "true"}, hostUsers: &no},
		{name: "architecture", parameters: map[string]string{"arch": "arm64"}, selector: map[string]string{"kubernetes.io/arch": "arm64"}},
		{
			name: "both", parameters: map[string]string{"arch": "arm64", "user-namespace": "true"},
			hostUsers: &no, selector: map[string]string{"kubernetes.io/arch": "arm64"},
		},
		{name: "example", patch: example.Spec.PodSpecPatch, hostUsers: &no},
		{
			name: "workflow", patch: "nodeSelector: {disk: fast}\nhostUsers: false", parameters: map[string]string{"arch": "amd64"},
			hostUsers: &no, selector: map[string]string{"kubernetes.io/arch": "amd64", "disk": "fast"},
		},
		{name: "workflow alone", patch: "nodeSelector: {disk: fast}", selector: map[string]string{"disk": "fast"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			parameters := map[string]string{"image": "r/i:1"}
			maps.Copy(parameters, test.parameters)
			tmpl := instance(t, templateNamed(t, slipway(t), "build"), values(parameters), nil)
			var patches []string
			if test.patch != "" {
				patches = append(patches, test.patch)
			}
			spec := podOf(t, tmpl, patches...)
			if !reflect.DeepEqual(spec.HostUsers, test.hostUsers) {
				t.Errorf("hostUsers is %v", spec.HostUsers)
			}
			if !maps.Equal(spec.NodeSelector, test.selector) {
				t.Errorf("nodeSelector is %v, want %v", spec.NodeSelector, test.selector)
			}
			tmpl.PodSpecPatch = "{}"
			plain := podOf(t, tmpl)
			spec.HostUsers, spec.NodeSelector = nil, nil
			// The environment of init has the template with its podSpecPatch.
			plain.InitContainers[0].Env, spec.InitContainers[0].Env = nil, nil
			if !reflect.DeepEqual(plain, spec) {
				t.Errorf("something else of the pod is different:\n%+v\n%+v", spec, plain)
			}
		})
	}
}

// The argument of the Task that the template has under another name, or has not, is a mistake.
func TestParametersAreThoseOfTheTask(t *testing.T) {
	files := yamlFiles(t, "task/slipway")
	var task struct {
		Spec struct {
			Params []struct {
				Name    string
				Default any
			}
			Steps []struct {
				Args            []string
				SecurityContext *corev1.SecurityContext
			}
		}
	}
	if err := yaml.Unmarshal(files["task/slipway/slipway.yaml"], &task); err != nil {
		t.Fatal(err)
	}
	tmpl := templateNamed(t, slipway(t), "build")
	for _, p := range task.Spec.Params {
		if p.Name == "PLATFORM" {
			continue // for a matrix, which can only fill in strings; here all parameters are strings
		}
		name := strings.ReplaceAll(strings.ToLower(p.Name), "_", "-")
		ours := tmpl.Inputs.GetParameterByName(name)
		if ours == nil {
			t.Errorf("no parameter %s", name)
			continue
		}
		want := p.Default
		if list, ok := want.([]any); ok && len(list) == 0 {
			want = "[]"
		}
		var got any
		if ours.Value != nil {
			got = ours.Value.String()
		}
		if got != want {
			t.Errorf("%s is %#v, in the Task %#v", name, got, want)
		}
	}
	step := task.Spec.Steps[0]
	if !reflect.DeepEqual(step.SecurityContext, tmpl.Container.SecurityContext) {
		t.Errorf("securityContext %+v, in the Task %+v", tmpl.Container.SecurityContext, step.SecurityContext)
	}
	flags := map[string]bool{}
	for _, a := range tmpl.Container.Args {
		flag, _, _ := strings.Cut(a, "=")
		flags[flag] = true
	}
	for _, a := range step.Args {
		flag, _, _ := strings.Cut(a, "=")
		if strings.HasPrefix(flag, "--") && flag != "--platform" && !flags[flag] {
			t.Errorf("no argument %s, which the Task has", flag)
		}
	}
}

// With the parameter restricted, the container is that of the Task for restricted namespaces, and what a workflow's own
// podSpecPatch says of it stays.
func TestRestrictedIsThatOfTheTask(t *testing.T) {
	var task struct {
		Spec struct {
			Steps []struct{ SecurityContext *corev1.SecurityContext }
		}
	}
	if err := yaml.Unmarshal(yamlFiles(t, "task/slipway-restricted")["task/slipway-restricted/slipway-restricted.yaml"], &task); err != nil {
		t.Fatal(err)
	}
	want := task.Spec.Steps[0].SecurityContext
	for _, sign := range []string{"none", "key", "keyless"} {
		parameters := map[string]string{"image": "r/i:1", "sign": sign}
		plain := mainOf(t, podOf(t, instance(t, templateNamed(t, slipway(t), "build"), values(parameters), nil)))
		parameters["restricted"] = "true"
		tmpl := instance(t, templateNamed(t, slipway(t), "build"), values(parameters), nil)
		main := mainOf(t, podOf(t, tmpl))
		if !reflect.DeepEqual(main.SecurityContext, want) {
			t.Errorf("sign %s: securityContext %+v, in the Task %+v", sign, main.SecurityContext, want)
		}
		main.SecurityContext, plain.SecurityContext = nil, nil
		if !reflect.DeepEqual(main, plain) {
			t.Errorf("sign %s: something else of the container is different:\n%+v\n%+v", sign, main, plain)
		}
		readOnly := mainOf(t, podOf(t, tmpl, `{"containers": [{"name": "main", "securityContext": {"readOnlyRootFilesystem": true}}]}`)).SecurityContext
		if got := readOnly.ReadOnlyRootFilesystem; got == nil || !*got || readOnly.RunAsUser == nil || *readOnly.RunAsUser != *want.RunAsUser {
			t.Errorf("sign %s: with the workflow's podSpecPatch it is %+v", sign, readOnly)
		}
	}
}

// What the entrypoint takes can all be given with "argo submit -p", and what the workflow asks for the
// entrypoint takes.
func TestEntrypoint(t *testing.T) {
	w := slipway(t)
	tmpl := templateNamed(t, w, w.Spec.Entrypoint)
	for _, p := range w.Spec.Arguments.Parameters {
		if !strings.HasPrefix(p.Name, "git-") && tmpl.Inputs.GetParameterByName(p.Name) == nil {
			t.Errorf("nobody takes %s", p.Name)
		}
	}
	artifacts := w.Spec.Arguments.Artifacts
	if len(artifacts) != 1 || tmpl.Inputs.GetArtifactByName(artifacts[0].Name) == nil {
		t.Errorf("the artifacts are %v", artifacts)
	}
}
