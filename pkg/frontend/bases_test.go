package frontend

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/op"
)

func TestBases(t *testing.T) {
	const amd64, arm64 = " linux/amd64", " linux/arm64" // the build's and the target's
	for _, test := range []struct {
		name, dockerfile string
		args             map[string]string
		want             []string
	}{
		{"all stages, needed or not", "FROM a\nFROM b AS other\nFROM c:1", nil, []string{"a" + arm64, "b" + arm64, "c:1" + arm64}},
		{"each once", "FROM a\nFROM b\nFROM a", nil, []string{"a" + arm64, "b" + arm64}},
		{"no stages", "FROM a AS build\nFROM build\nFROM Build", nil, []string{"a" + arm64, "Build" + arm64}},
		{"a stage of the same name as its image", "FROM a AS a\nFROM a", nil, []string{"a" + arm64}},
		{"a stage that comes later is none", "FROM b\nFROM a AS b", nil, []string{"b" + arm64, "a" + arm64}},
		{"nothing", "FROM scratch", nil, nil},
		{"pinned", "FROM a:1@sha256:" + strings.Repeat("0", 64), nil, []string{"a:1@sha256:" + strings.Repeat("0", 64) + arm64}},
		{"a variable", "ARG V=1\nFROM a:$V", nil, []string{"a:1" + arm64}},
		{"a variable that is given", "ARG V=1\nFROM a:${V}", map[string]string{"V": "2"}, []string{"a:2" + arm64}},
		{"a variable made of others", "ARG V=1\nARG I=a:$V\nFROM ${I}-x", nil, []string{"a:1-x" + arm64}},
		{"a default in place", "FROM ${I:-a:3}", nil, []string{"a:3" + arm64}},
		{"a variable that is not declared", "FROM a:1$V", map[string]string{"V": "2"}, []string{"a:1" + arm64}},
		{"a platform", "FROM --platform=linux/arm/v7 a", nil, []string{"a linux/arm/v7"}},
		{"the build's platform", "FROM --platform=$BUILDPLATFORM a\nFROM a", nil, []string{"a" + amd64, "a" + arm64}},
		{"the target's platform", "FROM --platform=$TARGETPLATFORM a\nFROM b-$TARGETARCH", nil, []string{"a" + arm64, "b-arm64" + arm64}},
		{"copied from", "FROM a AS build\nFROM scratch\nCOPY --from=b:1 /x /\nCOPY --from=build /x /\nCOPY --from=0 /x /\nCOPY --from=Build /x /\nCOPY x /", nil,
			[]string{"a" + arm64, "b:1" + arm64}},
		{"mounted", "FROM a AS build\nRUN --mount=from=b,target=/b --mount=type=cache,target=/c,from=c --mount=from=build,target=/d --mount=type=tmpfs,target=/t true",
			nil, []string{"a" + arm64, "b" + arm64, "c" + arm64}},
		{"copied from on another platform", "FROM --platform=$BUILDPLATFORM a\nCOPY --from=a / /", nil, []string{"a" + amd64, "a" + arm64}},
		{"copied from a later stage, which is an error of a build", "FROM a\nCOPY --from=later / /\nFROM b AS later", nil, []string{"a" + arm64, "b" + arm64}},
		{"copied and mounted from nothing", "FROM a\nCOPY --from=scratch / /\nRUN --mount=from=scratch,target=/s true", nil, []string{"a" + arm64}},
		{"another escape character", "# escape=`\nFROM `\n  a", nil, []string{"a" + arm64}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bases, err := Bases("Dockerfile", []byte(test.dockerfile), test.args,
				op.Platform{OS: "linux", Architecture: "amd64"}, op.Platform{OS: "linux", Architecture: "arm64"})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, b := range bases {
				got = append(got, b.Image+" "+b.Platform.String())
			}
			if fmt.Sprint(got) != fmt.Sprint(test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestBasesErrors(t *testing.T) {
	for _, test := range []struct {
		dockerfile, want string
		line             int // 0 for none
	}{
		{"FROM a\nFROM $V", "names no image: give its variable a value with --build-arg", 2},
		{"FROM --platform=x/y/z/a a", `platform "x/y/z/a"`, 1},
		{"FROM ${V", "it ends before the closing brace", 1},
		{"FROM a\nFRMO b", "unknown instruction: FRMO", 2},
		{"ARG A=1", "the Dockerfile has no stages", 0},
	} {
		t.Run(test.dockerfile, func(t *testing.T) {
			host := op.Platform{OS: "linux", Architecture: "amd64"}
			_, err := Bases("Dockerfile", []byte(test.dockerfile), nil, host, host)
			if test.line > 0 {
				wantLocated(t, err, test.line, test.want)
			} else if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
