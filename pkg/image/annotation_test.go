package image

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseAnnotation(t *testing.T) {
	for in, want := range map[string][]Annotation{
		"k=v":                                   {{OnManifest, "", "k", "v"}},
		"k=":                                    {{OnManifest, "", "k", ""}},
		"k=a=b,c":                               {{OnManifest, "", "k", "a=b,c"}},
		"index:k=v:w":                           {{OnIndex, "", "k", "v:w"}},
		"index,manifest:k=v":                    {{OnIndex, "", "k", "v"}, {OnManifest, "", "k", "v"}},
		"manifest[linux/amd64]:org.example/x=v": {{OnManifest, "linux/amd64", "org.example/x", "v"}},
		"manifest-descriptor[linux/arm64/v8]:k=v": {{OnManifestDescriptor, "linux/arm64", "k", "v"}},
		"index-descriptor:k=v":                    {{OnIndexDescriptor, "", "k", "v"}},
		"k":                                       nil,
		"=v":                                      nil,
		"":                                        nil,
		"index:=v":                                nil,
		"idnex:k=v":                               nil,
		"index[linux/amd64]:k=v":                  nil,
		"manifest[]:k=v":                          nil,
		"manifest[!]:k=v":                         nil,
	} {
		got, err := ParseAnnotation(in)
		if (err == nil) != (want != nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, %v, want %v", in, got, err, want)
		}
	}
}

// Where there is only an index, that is what is meant if nothing is said.
func TestParseIndexAnnotation(t *testing.T) {
	for in, want := range map[string][]Annotation{
		"k=v":                                    {{OnIndex, "", "k", "v"}},
		"manifest-descriptor[linux/amd64]:k=v:w": {{OnManifestDescriptor, "linux/amd64", "k", "v:w"}},
		"manifest:k=v":                           {{OnManifest, "", "k", "v"}},
		"k":                                      nil,
	} {
		got, err := ParseIndexAnnotation(in)
		if (err == nil) != (want != nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %v, %v, want %v", in, got, err, want)
		}
	}
}

func TestParseAnnotationKey(t *testing.T) {
	for in, want := range map[string]Annotation{
		"annotation.k":                                   {OnManifest, "", "k", "v"},
		"annotation[linux/amd64].a.b":                    {OnManifest, "linux/amd64", "a.b", "v"},
		"annotation-index.k":                             {OnIndex, "", "k", "v"},
		"annotation-manifest-descriptor[linux/arm/v7].k": {OnManifestDescriptor, "linux/arm/v7", "k", "v"},
		"annotation-index[linux/amd64].k":                {},
		"annotation-nothing.k":                           {},
		"annotation.":                                    {},
		"annotation":                                     {},
		"annotation[x].k y":                              {},
	} {
		got, err := ParseAnnotationKey(in, "v")
		if (err == nil) != (want != Annotation{}) || got != want {
			t.Errorf("%q: got %v, %v, want %v", in, got, err, want)
		}
	}
}

func FuzzParseAnnotation(f *testing.F) {
	for _, s := range []string{"k=v", "index,manifest[linux/amd64]:k=v", "manifest[a/b/c/d]:=", ",:="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		as, err := ParseAnnotation(s)
		if (err == nil) == (len(as) == 0) {
			t.Errorf("%q: %v, %v", s, as, err)
		}
		for _, a := range as {
			if a.Key == "" || !strings.Contains(s, a.Key+"="+a.Value) {
				t.Errorf("%q: %v", s, a)
			}
		}
	})
}
