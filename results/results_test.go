package results

import (
	"slices"
	"strings"
	"testing"
)

const (
	digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	app    = "registry.example:5000/team/app"
)

func TestImageResults(t *testing.T) {
	tests := []struct {
		name  string
		image Image
		want  []Result
	}{
		{
			name:  "one destination",
			image: Image{Destinations: []string{app + ":v1"}, Digest: digest, Pushed: true},
			want: []Result{
				{"IMAGE_URL", app + ":v1"},
				{"IMAGE_DIGEST", digest},
				{"IMAGE_REF", app + ":v1@" + digest},
				{"IMAGES", app + ":v1@" + digest},
				{"IMAGE_ARTIFACT_OUTPUTS", output(app)},
			},
		},
		{
			name:  "several destinations: the first one is the image's name",
			image: Image{Destinations: []string{app + ":v2", app + ":latest", "ghcr.io/team/app:v2"}, Digest: digest, Pushed: true},
			want: []Result{
				{"IMAGE_URL", app + ":v2"},
				{"IMAGE_DIGEST", digest},
				{"IMAGE_REF", app + ":v2@" + digest},
				{"IMAGES", app + ":v2@" + digest + "," + app + ":latest@" + digest + ",ghcr.io/team/app:v2@" + digest},
				{"IMAGE_ARTIFACT_OUTPUTS", output(app)},
			},
		},
		{
			name:  "no tag means latest, and a port is no tag",
			image: Image{Destinations: []string{app}, Digest: digest, Pushed: true},
			want: []Result{
				{"IMAGE_URL", app + ":latest"},
				{"IMAGE_DIGEST", digest},
				{"IMAGE_REF", app + ":latest@" + digest},
				{"IMAGES", app + ":latest@" + digest},
				{"IMAGE_ARTIFACT_OUTPUTS", output(app)},
			},
		},
		{
			name:  "the user's spelling of Docker Hub stays",
			image: Image{Destinations: []string{"team/app:v1"}, Digest: digest, Pushed: true},
			want: []Result{
				{"IMAGE_URL", "team/app:v1"},
				{"IMAGE_DIGEST", digest},
				{"IMAGE_REF", "team/app:v1@" + digest},
				{"IMAGES", "team/app:v1@" + digest},
				{"IMAGE_ARTIFACT_OUTPUTS", output("index.docker.io/team/app")},
			},
		},
		{
			name:  "not pushed: nothing that could be signed or pulled",
			image: Image{Destinations: []string{app + ":v1"}, Digest: digest},
			want:  []Result{{"IMAGE_URL", ""}, {"IMAGE_REF", ""}, {"IMAGES", ""}},
		},
		{
			name:  "not pushed and without a name",
			image: Image{Digest: digest},
			want:  []Result{{"IMAGE_URL", ""}, {"IMAGE_REF", ""}, {"IMAGES", ""}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.image.Results()
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestImageResultsRefuses(t *testing.T) {
	tests := []struct {
		name  string
		image Image
		want  string
	}{
		{"no digest", Image{Destinations: []string{app}, Pushed: true}, "digest"},
		{"short digest", Image{Destinations: []string{app}, Digest: "sha256:abc", Pushed: true}, "digest"},
		{"digest with a newline", Image{Destinations: []string{app}, Digest: digest + "\n", Pushed: true}, "digest"},
		{"pushed to nowhere", Image{Digest: digest, Pushed: true}, "no destination"},
		{"upper case", Image{Destinations: []string{"example.com/App:v1"}, Digest: digest, Pushed: true}, `"example.com/App:v1"`},
		{"a digest as destination", Image{Destinations: []string{app + "@" + digest}, Digest: digest, Pushed: true}, `"` + app},
		{"empty", Image{Destinations: []string{""}, Digest: digest, Pushed: true}, `""`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.image.Results()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, error %v, want an error with %q", got, err, tt.want)
			}
		})
	}
}

// output is what tells Tekton Chains of an image in a repository.
func output(repository string) string {
	return `{"uri":"` + repository + `","digest":"` + digest + `","isBuildArtifact":"true"}`
}

func TestArtifactOfAnotherBuild(t *testing.T) {
	if got, want := Artifact("example.com/base", digest, false), `{"uri":"example.com/base","digest":"`+digest+`"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
