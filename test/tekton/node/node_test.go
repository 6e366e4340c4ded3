package node

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestExpand(t *testing.T) {
	variables := map[string]string{"A": "1", "B": "$(A)"}
	for text, want := range map[string]string{
		"":                    "",
		"plain":               "plain",
		"$(A) and $(A)":       "1 and 1",
		"$(B)":                "$(A)", // once
		"$(C)":                "$(C)",
		"$(A":                 "$(A",
		"$A $":                "$A $",
		"$$(A) $$":            "$(A) $",
		"$$$(A)":              "$1",
		"$(not closed $(A)":   "$(not closed $(A)",
		"--build-arg=X=$(A)%": "--build-arg=X=1%",
	} {
		if got := expand(text, variables); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestMessage(t *testing.T) {
	log := strings.Repeat("x", 5000)
	for containers, want := range map[int]int{2: 4096, 3: 4096, 4: 3072, 12: 1024} {
		if got := len(message(log, containers)); got != want {
			t.Errorf("of %d containers, each may say %d bytes, want %d", containers, got, want)
		}
	}
}

// TestShapeRefuses wants an error for everything that would be passed over.
func TestShapeRefuses(t *testing.T) {
	uid, gid, yes := int64(7), int64(8), true
	unmasked := corev1.UnmaskedProcMount
	local := &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost}
	for name, security := range map[string]*corev1.SecurityContext{
		"procMount":       {ProcMount: &unmasked},
		"appArmorProfile": {AppArmorProfile: &corev1.AppArmorProfile{}},
		"seLinuxOptions":  {SELinuxOptions: &corev1.SELinuxOptions{}},
		"another group":   {RunAsUser: &uid, RunAsGroup: &gid},
		"no group":        {RunAsUser: &uid},
		"root":            {RunAsNonRoot: &yes},
		"local profile":   {SeccompProfile: local},
		"drop one":        {Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"MKNOD"}}},
		"add all":         {Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"ALL"}}},
	} {
		shape, err := (&Node{}).shape(&corev1.Pod{}, corev1.Container{SecurityContext: security}, Image{})
		if err == nil {
			t.Errorf("%s is taken: %+v", name, shape)
		}
	}
	group := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{FSGroup: &gid}}}
	if shape, err := (&Node{}).shape(group, corev1.Container{}, Image{}); err == nil {
		t.Errorf("fsGroup is taken: %+v", shape)
	}
}
