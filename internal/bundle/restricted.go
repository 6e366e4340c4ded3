package bundle

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// restrictedFile follows from taskFile, too.
const restrictedFile = "task/slipway-restricted/slipway-restricted.yaml"

// unprivileged is the user and group of steps that need no privilege. Tekton's own containers and those of its Task
// git-clone run as the same, so that all of them can share volumes.
const unprivileged = "65532"

// restrictedTask makes the variant of the Task for namespaces that enforce the Pod Security Standard "restricted": an
// ordinary user, no capability, and RUN in the only isolation that works there.
func restrictedTask(task []byte) ([]byte, error) {
	m, annotations, err := taskVariant(task, restrictedFile, "slipway for restricted namespaces", "This is the variant for namespaces that enforce "+
		"the Pod Security Standard restricted: an ordinary user without capabilities, and a kernel in user space for RUN.")
	if err != nil {
		return nil, err
	}
	annotations.set("tekton.dev/tags", text("image-build, dockerfile, oci, kaniko, rootless, pod-security"))
	if err := setDefault(m, "ISOLATION", text("sandbox")); err != nil {
		return nil, err
	}
	err = setSecurity(m, restrictedContext(), "What Pod Security restricted demands. Inside RUN there are root, setuid programs and file capabilities all the\n"+
		"same: they are those of the kernel in user space.")
	if err != nil {
		return nil, err
	}
	return encode(m, generated(taskFile))
}

// restrictedContext is the securityContext that "restricted" demands.
func restrictedContext() mapping {
	security := newMapping()
	security.set("runAsNonRoot", plain("true"))
	security.set("runAsUser", plain(unprivileged))
	security.set("runAsGroup", plain(unprivileged))
	security.set("privileged", plain("false"))
	security.set("allowPrivilegeEscalation", plain("false"))
	capabilities := newMapping()
	capabilities.set("drop", &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{text("ALL")}})
	security.set("capabilities", capabilities.Node)
	profile := newMapping()
	profile.set("type", text("RuntimeDefault"))
	security.set("seccompProfile", profile.Node)
	return security
}

// setDefault gives a parameter of the Task another default.
func setDefault(m mapping, name string, value *yaml.Node) error {
	params, err := m.at("spec", "params")
	if err != nil {
		return err
	}
	for _, n := range params.Content {
		p := mapping{n}
		if got := p.get("name"); got != nil && got.Value == name {
			p.set("default", value)
			return nil
		}
	}
	return fmt.Errorf("no parameter %s", name)
}
