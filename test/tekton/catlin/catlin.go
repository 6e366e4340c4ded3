// Package catlin has the rules by which Tekton's catalog and Artifact Hub take definitions or refuse them. They are
// those of the program catlin, which cannot be had as a module, does not know StepActions, and stops at the first
// thing that it says of an image; and those of Artifact Hub; and, last, our own.
package catlin

import (
	"slices"

	"github.com/slipway-build/slipway/test/tekton/definition"
)

// Rule is something that definitions must not break.
type Rule struct {
	// Name is how findings name the rule.
	Name string
	// Kinds are those that the rule is about; none means all.
	Kinds []string

	check func(*subject) []string
}

// Finding is a broken rule.
type Finding struct {
	// Rule is its name.
	Rule string
	// Message says what is wrong.
	Message string
}

// Rules are all rules.
func Rules() []Rule {
	return slices.Concat(metadataRules(), hubRules(), stepRules(), ownRules())
}

// Check holds a definition against all rules. A definition of a kind that the catalog does not have is an error.
func Check(d definition.Definition) ([]Finding, error) {
	s, err := subjectOf(d)
	if err != nil {
		return nil, err
	}
	var all []Finding
	for _, rule := range Rules() {
		if len(rule.Kinds) > 0 && !slices.Contains(rule.Kinds, s.kind) {
			continue
		}
		for _, message := range rule.check(s) {
			all = append(all, Finding{Rule: rule.Name, Message: message})
		}
	}
	return all, nil
}
