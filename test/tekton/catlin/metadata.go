package catlin

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/blang/semver/v4"
	"sigs.k8s.io/yaml"
)

const (
	versionLabel = "app.kubernetes.io/version"
	minVersion   = "tekton.dev/pipelines.minVersion"
	categories   = "tekton.dev/categories"
	platforms    = "tekton.dev/platforms"
)

func metadataRules() []Rule {
	return []Rule{
		{Name: "path", check: checkPath},
		{Name: "version", check: func(s *subject) []string { return semantic(versionLabel, s.meta.GetLabels()[versionLabel]) }},
		{Name: "minimum version", check: func(s *subject) []string { return semantic(minVersion, s.annotation(minVersion)) }},
		{Name: "categories", check: checkCategories},
		{Name: "tags", check: present("tekton.dev/tags")},
		{Name: "display name", check: present("tekton.dev/displayName")},
		{Name: "platforms", check: checkPlatforms},
		{Name: "description", check: checkDescription},
	}
}

func hubRules() []Rule {
	return []Rule{
		{Name: "hub category", check: checkHubCategory},
		{Name: "license", check: present("artifacthub.io/license")},
		{Name: "links", check: checkLinks},
	}
}

// checkPath wants the place of a catalog whose versions are tags; a kind's directory is called as Artifact Hub is told.
func checkPath(s *subject) []string {
	dirs := map[string]string{"Task": "task", "StepAction": "stepaction", "Pipeline": "pipelines"}
	name := s.meta.GetName()
	if want := dirs[s.kind] + "/" + name + "/" + name + ".yaml"; s.path != want {
		return []string{fmt.Sprintf("it lies at %s, not at %s", s.path, want)}
	}
	return nil
}

// semantic wants a semantic version.
func semantic(key, value string) []string {
	if value == "" {
		return []string{key + " is missing"}
	}
	if _, err := semver.Parse(value); err != nil {
		return []string{fmt.Sprintf("%s: %q is no semantic version: %v", key, value, err)}
	}
	return nil
}

// present wants an annotation.
func present(key string) func(*subject) []string {
	return func(s *subject) []string {
		if s.annotation(key) == "" {
			return []string{key + " is missing"}
		}
		return nil
	}
}

func checkCategories(s *subject) []string {
	known := []string{
		"Automation", "Build Tools", "CLI", "Cloud", "Code Quality", "Continuous Integration", "Deployment", "Developer Tools",
		"Image Build", "Integration & Delivery", "Git", "Kubernetes", "Messaging", "Monitoring", "Networking", "Openshift",
		"Publishing", "Security", "Storage", "Testing",
	}
	if s.annotation(categories) == "" {
		return []string{categories + " is missing"}
	}
	var found []string
	for category := range strings.SplitSeq(s.annotation(categories), ",") {
		if category = strings.TrimSpace(category); !slices.Contains(known, category) {
			found = append(found, fmt.Sprintf("%s: %q is not in the catalog's list", categories, category))
		}
	}
	return found
}

func checkPlatforms(s *subject) []string {
	if s.annotation(platforms) == "" {
		return []string{platforms + " is missing"}
	}
	form := regexp.MustCompile(`^[a-z0-9]+/[a-z0-9]+$`)
	var found []string
	for platform := range strings.SplitSeq(s.annotation(platforms), ",") {
		if platform = strings.TrimSpace(platform); !form.MatchString(platform) {
			found = append(found, fmt.Sprintf("%s: %q is not of the form linux/amd64", platforms, platform))
		}
	}
	return found
}

// checkDescription wants a line that can stand in a list, and more than that.
func checkDescription(s *subject) []string {
	if s.description == "" {
		return []string{"spec.description is missing"}
	}
	summary, details, _ := strings.Cut(s.description, "\n")
	if strings.TrimSpace(summary) == "" || strings.TrimSpace(details) == "" {
		return []string{"spec.description is not a line for a summary, and then the details"}
	}
	return nil
}

func checkHubCategory(s *subject) []string {
	known := []string{
		"ai-machine-learning", "database", "integration-delivery", "monitoring-logging", "networking", "security", "storage",
		"streaming-messaging", "skip-prediction",
	}
	const key = "artifacthub.io/category"
	if category := s.annotation(key); !slices.Contains(known, category) {
		return []string{fmt.Sprintf("%s: %q is not in Artifact Hub's list", key, category)}
	}
	return nil
}

func checkLinks(s *subject) []string {
	const key = "artifacthub.io/links"
	var links []struct{ Name, URL string }
	if err := yaml.UnmarshalStrict([]byte(s.annotation(key)), &links); err != nil {
		return []string{fmt.Sprintf("%s: %v", key, err)}
	}
	var names, found []string
	for _, link := range links {
		names = append(names, link.Name)
		if !strings.HasPrefix(link.URL, "https://") {
			found = append(found, fmt.Sprintf("%s: %q is not at https", key, link.URL))
		}
	}
	for _, name := range []string{"source", "support"} {
		if !slices.Contains(names, name) {
			found = append(found, fmt.Sprintf("%s: none is named %s", key, name))
		}
	}
	return found
}
