package graph

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
)

func edge(v *op.Vertex) op.Edge { return op.Edge{Vertex: v} }

func at(start, end int) []op.Location {
	return []op.Location{{Filename: "Dockerfile", Start: start, End: end}}
}

// result is a build for two platforms: one image with a stage that another one copies from and a mount
// from a third, one without layers.
func result() *frontend.Result {
	amd64 := op.Platform{OS: "linux", Architecture: "amd64"}
	context := &op.Vertex{Name: "[internal] load build context", Internal: true, Locations: at(2, 2), Op: &op.Local{Name: "context", FollowPaths: []string{"a"}}}
	base := &op.Vertex{Name: "[1/3] FROM base@sha256:1", Locations: at(4, 4), Op: &op.Image{Ref: "base@sha256:1", Platform: amd64}}
	build := &op.Vertex{
		Name: "[build 1/1] COPY a /", Inputs: []op.Edge{edge(context)}, Locations: at(2, 2),
		Op: &op.File{Actions: []op.FileAction{{
			Input: -1, Secondary: 0,
			Copy: &op.Copy{Src: "/a", Dest: "/", Mode: 0o640, Owner: &op.Owner{User: &op.Principal{Name: "demo"}, Group: &op.Principal{ID: 5}}},
		}}},
	}
	run := &op.Vertex{
		// The graph's order of inputs is not that of importance.
		Name: "[2/3] RUN --mount=from=build \"x\\y\"\x1b[2J", Inputs: []op.Edge{edge(build), edge(base)}, Locations: at(5, 7), NoCache: true,
		Op: &op.Exec{
			Args: []string{"/bin/sh", "-c", "x"}, Env: []string{"TOKEN=do not show"}, ProxyEnv: []string{"HTTP_PROXY=user:password"},
			Cwd: "/", User: "demo", Network: isolation.NetworkNone, Platform: amd64,
			SecretEnv: []op.SecretEnv{{ID: "token", Name: "T", Optional: true}},
			Mounts: []op.ExecMount{
				{Dest: "/", Input: 1},
				{Dest: "/in", Input: 0, Output: -1, Type: isolation.MountBind, Selector: "/s", ReadOnly: true},
				{Dest: "/c", Input: -1, Output: -1, Type: isolation.MountCache, CacheID: "/id", Sharing: op.CacheLocked},
				{Dest: "/t", Input: -1, Output: -1, Type: isolation.MountTmpfs, TmpfsSize: 7},
				{Dest: "/k", Input: -1, Type: isolation.MountSecret, SecretID: "key"},
				{Dest: "/a", Input: -1, Type: isolation.MountSSH, SecretID: "default", Optional: true},
			},
		},
	}
	last := &op.Vertex{
		Name: "[3/3] COPY --from=build /a /b", Inputs: []op.Edge{edge(run), edge(build)}, Locations: at(8, 8),
		Op: &op.File{Actions: []op.FileAction{
			{Input: 0, Secondary: 1, Copy: &op.Copy{Src: "/a", Dest: "/b", Mode: -1, ModeStr: "u=r"}},
			{Input: 2, Secondary: -1, Mkdir: &op.Mkdir{Path: "/d", Mode: 0o755}},
			{Input: 3, Secondary: -1, Mkfile: &op.Mkfile{Path: "/f", Mode: 0o644}},
		}},
	}
	root := edge(last)
	return &frontend.Result{Platforms: []frontend.PlatformResult{
		{Platform: amd64, ID: "linux/amd64", Root: &root},
		{ID: "linux/arm64"},
		{ID: "linux/arm/v7", Root: &root},
	}}
}

func TestText(t *testing.T) {
	var b strings.Builder
	if err := New(result(), nil).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	want := `linux/amd64
#1 [1/3] FROM base@sha256:1 (linux/amd64)  Dockerfile:4
|  |  #2 [internal] load build context  Dockerfile:2
|  #3 [build 1/1] COPY a /  Dockerfile:2 <- #2
#4 [2/3] RUN --mount=from=build "x\y"[2J (linux/amd64) [no cache]  Dockerfile:5-7 <- #1 #3
#5 [3/3] COPY --from=build /a /b  Dockerfile:8 <- #4 #3

linux/arm64
(no layers)

linux/arm/v7
#5, see above
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestDOT(t *testing.T) {
	var b strings.Builder
	if err := New(result(), nil).WriteDOT(&b); err != nil {
		t.Fatal(err)
	}
	want := `digraph build {
  rankdir=LR;
  node [shape=box, fontname="sans-serif"];
  s1 [label="[1/3] FROM base@sha256:1\nlinux/amd64\nDockerfile:4", shape=ellipse];
  s2 [label="[internal] load build context\nDockerfile:2", shape=ellipse];
  s3 [label="[build 1/1] COPY a /\nDockerfile:2"];
  s2 -> s3;
  s4 [label="[2/3] RUN --mount=from=build \"x\\y\"[2J\nlinux/amd64\nDockerfile:5-7", style=bold];
  s1 -> s4;
  s3 -> s4 [style=dashed, label="/in"];
  s5 [label="[3/3] COPY --from=build /a /b\nDockerfile:8"];
  s4 -> s5;
  s3 -> s5;
  image1 [label="linux/amd64", shape=doubleoctagon];
  s5 -> image1;
  image2 [label="linux/arm64", shape=doubleoctagon];
  image3 [label="linux/arm/v7", shape=doubleoctagon];
  s5 -> image3;
}
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestJSON(t *testing.T) {
	var b strings.Builder
	if err := New(result(), nil).WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []string{"do not show", "password"} {
		if strings.Contains(b.String(), hidden) {
			t.Errorf("%q is shown", hidden)
		}
	}
	var got Graph
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	if want := []Image{{"linux/amd64", 5}, {"linux/arm64", 0}, {"linux/arm/v7", 5}}; got.Version != 1 || !reflect.DeepEqual(got.Images, want) {
		t.Errorf("version %d, images %+v", got.Version, got.Images)
	}
	for i, s := range got.Steps {
		if s.ID != i+1 {
			t.Errorf("step %d has id %d", i+1, s.ID)
		}
		for _, in := range s.Inputs {
			if in >= s.ID {
				t.Errorf("step %d comes before its input %d", s.ID, in)
			}
		}
	}
	for i, want := range []Step{
		{ID: 1, Kind: "image", Name: "[1/3] FROM base@sha256:1", Platform: "linux/amd64", Inputs: []int{}, Source: &Source{"Dockerfile", 4, 4}, Image: &Base{Ref: "base@sha256:1"}},
		{ID: 2, Kind: "local", Name: "[internal] load build context", Inputs: []int{}, Internal: true, Source: &Source{"Dockerfile", 2, 2}, Local: &Local{Name: "context", FollowPaths: []string{"a"}}},
		{
			ID: 3, Kind: "file", Name: "[build 1/1] COPY a /", Inputs: []int{2}, Source: &Source{"Dockerfile", 2, 2},
			File: []Action{{Action: "copy", From: 2, Source: "/a", Dest: "/", Owner: "demo:5", Mode: "0640"}},
		},
		{
			ID: 4, Kind: "exec", Name: "[2/3] RUN --mount=from=build \"x\\y\"\x1b[2J", Platform: "linux/amd64", Inputs: []int{1, 3}, NoCache: true, Source: &Source{"Dockerfile", 5, 7},
			Exec: &Command{
				Args: []string{"/bin/sh", "-c", "x"}, Dir: "/", User: "demo", Network: "none",
				SecretEnv: []SecretEnv{{ID: "token", Name: "T"}},
				Mounts: []Mount{
					{Type: "bind", Target: "/in", From: 3, Source: "/s", ReadOnly: true},
					{Type: "cache", Target: "/c", ID: "/id", Sharing: "locked"},
					{Type: "tmpfs", Target: "/t", Size: 7},
					{Type: "secret", Target: "/k", ID: "key", Required: true},
					{Type: "ssh", Target: "/a", ID: "default"},
				},
			},
		},
		{
			ID: 5, Kind: "file", Name: "[3/3] COPY --from=build /a /b", Inputs: []int{4, 3}, Source: &Source{"Dockerfile", 8, 8},
			File: []Action{
				{Action: "copy", From: 3, Source: "/a", Dest: "/b", Mode: "u=r"},
				{Action: "mkdir", Dest: "/d", Mode: "0755"},
				{Action: "mkfile", Dest: "/f", Mode: "0644"},
			},
		},
	} {
		if !reflect.DeepEqual(got.Steps[i], want) {
			t.Errorf("step %d\n%+v\nwant\n%+v", i+1, got.Steps[i], want)
		}
	}
}

// Sources from elsewhere say where they come from, but not with which credentials.
func TestRemoteSources(t *testing.T) {
	for _, c := range []struct {
		op   op.Op
		want Step
	}{
		{
			&op.HTTP{URL: "https://user:secret@example.com/f?token=secret", Filename: "f", Sum: [32]byte{1}, Mode: 0o600},
			Step{Kind: "http", HTTP: &Download{
				URL: "https://xxxxx@example.com/f?xxxxx", Filename: "f", Checksum: "sha256:01" + strings.Repeat("0", 62),
			}},
		},
		{&op.HTTP{URL: "https://example.com/"}, Step{Kind: "http", HTTP: &Download{URL: "https://example.com/"}}},
		{
			&op.Git{URL: "https://secret@example.com/r.git", Ref: "v1", Subdir: "d", Checksum: "abc", ByCommit: true, KeepGitDir: true, SkipSubmodules: true, AuthTokenSecret: "T"},
			Step{Kind: "git", Git: &Repository{
				URL: "https://xxxxx@example.com/r.git", Ref: "v1", Subdir: "d", Checksum: "abc", ByCommit: true, KeepGitDir: true, SkipSubmodules: true,
			}},
		},
		{&op.Git{URL: "git@example.com:r.git"}, Step{Kind: "git", Git: &Repository{URL: "git@example.com:r.git"}}},
	} {
		root := edge(&op.Vertex{Op: c.op})
		c.want.ID, c.want.Inputs = 1, []int{}
		if got := New(&frontend.Result{Platforms: []frontend.PlatformResult{{Root: &root}}}, nil).Steps[0]; !reflect.DeepEqual(got, c.want) {
			t.Errorf("got %+v\nwant %+v", got, c.want)
		}
	}
}
