package credentials

import (
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
)

// Whatever a configuration holds, a repository gets what is kept for a part of its own name and nothing else.
func FuzzConfiguration(f *testing.F) {
	for _, key := range []string{"r.example.com", "https://r.example.com/v1/", "r.example.com/team", "docker.io", "", "/", "https://", "r.example.com//x"} {
		f.Add([]byte(`{"auths":{"`+key+`":{"auth":"YTpi"}},"credHelpers":{"`+key+`":"x"}}`), "r.example.com/team/app")
	}
	f.Add([]byte(`{"credsStore":"x"}`), "alpine")
	f.Fuzz(func(t *testing.T, text []byte, ref string) {
		repo, err := name.NewRepository(ref)
		if err != nil {
			return
		}
		c, err := parseConfiguration("test", text, false)
		if err != nil {
			return
		}
		full := hostOf(repo) + "/" + repo.RepositoryStr() + "/"
		for _, candidate := range c.Candidates(repo) {
			scope := candidate.Name[strings.LastIndexByte(candidate.Name, ' ')+1:]
			scope = strings.TrimPrefix(strings.TrimSuffix(scope, ")"), "(")
			if !strings.HasPrefix(full, scope+"/") {
				t.Errorf("%s gets %s", repo, candidate.Name)
			}
		}
	})
}
