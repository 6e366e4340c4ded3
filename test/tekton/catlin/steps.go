package catlin

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

func stepRules() []Rule {
	return []Rule{
		{Name: "image registry", check: eachImage(checkRegistry)},
		{Name: "image tag", check: eachImage(checkTag)},
		{Name: "secret environment", check: eachStep(checkEnvironment)},
		{Name: "parameters in script", check: eachStep(checkScript)},
		// catlin cannot read the image of a step that is a reference.
		{Name: "self-contained", Kinds: []string{"Task"}, check: eachStep(checkReference)},
	}
}

func ownRules() []Rule {
	return []Rule{
		{Name: "no shell", check: eachOwnStep(checkShell)},
		{Name: "no working directory", check: eachOwnStep(checkWorkingDir)},
		{Name: "user", check: eachOwnStep(checkUser)},
	}
}

func eachStep(check func(*step) string) func(*subject) []string {
	return func(s *subject) []string {
		var found []string
		for i := range s.steps {
			if message := check(&s.steps[i]); message != "" {
				found = append(found, s.steps[i].name+": "+message)
			}
		}
		return found
	}
}

// eachOwnStep leaves out the steps that stand in a Pipeline for those of the user.
func eachOwnStep(check func(*step) string) func(*subject) []string {
	return eachStep(func(s *step) string {
		if s.inline {
			return ""
		}
		return check(s)
	})
}

// eachImage leaves out the images that are known only when something runs.
func eachImage(check func(string) string) func(*subject) []string {
	return eachStep(func(s *step) string {
		image := s.reference()
		if s.Ref != nil || strings.Contains(image, "$(") {
			return ""
		}
		return check(image)
	})
}

func checkRegistry(image string) string {
	repository, _, _ := strings.Cut(image, "@")
	host, path, found := strings.Cut(repository, "/")
	if !found || path == "" || !strings.ContainsAny(host, ".:") {
		return fmt.Sprintf("image %q names no registry", image)
	}
	return ""
}

func checkTag(image string) string {
	tagged, _, _ := strings.Cut(image, "@")
	tag, err := name.NewTag(tagged, name.StrictValidation)
	if err != nil {
		return fmt.Sprintf("image %q: %v", image, err)
	}
	if tag.TagStr() == name.DefaultTag {
		return fmt.Sprintf("image %q is another one each day", image)
	}
	return ""
}

func checkEnvironment(s *step) string {
	for _, variable := range s.Env {
		if variable.ValueFrom != nil && variable.ValueFrom.SecretKeyRef != nil {
			return fmt.Sprintf("%s is a secret in the environment; a file is safer", variable.Name)
		}
	}
	for _, source := range s.EnvFrom {
		if source.SecretRef != nil {
			return fmt.Sprintf("the secret %s is in the environment; files are safer", source.SecretRef.Name)
		}
	}
	return ""
}

func checkScript(s *step) string {
	if strings.Contains(s.Script, "$(params.") {
		return "a parameter in a script is run as part of it"
	}
	return ""
}

func checkReference(s *step) string {
	if s.Ref != nil {
		return "it is a reference"
	}
	return ""
}

func checkShell(s *step) string {
	if s.Script != "" {
		return "it is a script"
	}
	if len(s.Command) == 0 {
		return "Tekton has to ask the image's registry for the command"
	}
	return ""
}

func checkWorkingDir(s *step) string {
	if s.WorkingDir != "" {
		return "Tekton needs one container more to make the working directory"
	}
	return ""
}

// checkUser wants the user to be named, as the catalog's recommendations do for root.
func checkUser(s *step) string {
	if s.SecurityContext == nil || s.SecurityContext.RunAsUser == nil {
		return "securityContext.runAsUser does not say as whom it runs"
	}
	return ""
}
