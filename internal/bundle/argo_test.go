package bundle

import (
	"strings"
	"testing"
)

func TestClusterWorkflowTemplate(t *testing.T) {
	got, err := ClusterWorkflowTemplate([]byte(`# about the file
# of two lines
apiVersion: argoproj.io/v1alpha1
kind: WorkflowTemplate # kept
spec:
  # kept too
  templates: [ {name: WorkflowTemplate} ]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := `# Generated from argo/slipway/manifests.yaml by "make generate". Change that file, not this one.
apiVersion: argoproj.io/v1alpha1
kind: ClusterWorkflowTemplate # kept
spec:
  # kept too
  templates: [ {name: WorkflowTemplate} ]
`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestClusterWorkflowTemplateRefuses(t *testing.T) {
	for _, test := range []struct{ source, want string }{
		{"- a\n", "not a mapping"},
		{"kind: Workflow\n", "not of the kind"},
		{"metadata: {namespace: here}\nkind: WorkflowTemplate\n", "namespace"},
		{"kind: WorkflowTemplate\nspec:\n  steps:\n    - - templateRef: {name: a}\n", "line 4"},
		{"kind: \"WorkflowTemplate\"\n", "plainly"},
		{"kind: [\n", "yaml"},
	} {
		if out, err := ClusterWorkflowTemplate([]byte(test.source)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("of %q: %q, %v; want an error with %q", test.source, out, err, test.want)
		}
	}
}

func TestArgoReadme(t *testing.T) {
	manifests := []byte(`
spec:
  templates:
    - name: one
      inputs:
        parameters:
          - {name: needed, description: It | is}
          - {name: empty, description: "--mount=type=<it>", value: ""}
          - {name: list, description: Several, value: "[]"}
      outputs:
        parameters: [{name: out, description: Goes out}]
`)
	const empty = `# T
<!-- generated: one parameters --><!-- end -->
`
	if _, err := ArgoReadme([]byte(empty), manifests); err == nil {
		t.Error("a README without its sections was accepted")
	}
	readme := `# T
<!-- generated: one outputs -->
old
<!-- end -->
text
<!-- generated: one parameters -->
<!-- end -->
`
	want := `# T
<!-- generated: one outputs -->

| output | value |
|---|---|
| ` + "`out`" + ` | Goes out |

<!-- end -->
text
<!-- generated: one parameters -->

| parameter | default | meaning |
|---|---|---|
| ` + "`needed`" + ` | required | It \| is |
| ` + "`empty`" + ` | ` + "`\"\"`" + ` | --mount=type=&lt;it> |
| ` + "`list`" + ` | ` + "`[]`" + ` | Several |

<!-- end -->
`
	for range 2 { // made of itself, it is the same
		got, err := ArgoReadme([]byte(readme), manifests)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Fatalf("got\n%s\nwant\n%s", got, want)
		}
		readme = string(got)
	}
}
