package builder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-build/slipway/bench/internal/usage"
	"github.com/slipway-build/slipway/test/pod"
)

// inPod is a builder that is the only process of a pod.
type inPod struct {
	name, program string
	shape         pod.Shape
	rootfs        string
	env           []string
	args          func(*Job) []string
	// state is where in the pod a volume is, for what the program keeps; "" for none.
	state string
}

// Slipway builds in pods without any securityContext, but for "sandbox", which is in restricted ones.
func Slipway(ctx context.Context, isolation string) (Builder, error) {
	rootfs, err := pod.Rootfs(ctx, "slipway")
	if err != nil {
		return nil, err
	}
	name, shape := "slipway", pod.Default()
	if isolation != "namespace" {
		name = "slipway-" + isolation
	}
	if isolation == "sandbox" {
		shape = pod.Restricted()
	}
	return &inPod{
		name: name, program: "slipway", shape: shape, rootfs: rootfs, env: pod.SlipwayEnv(), state: "/slipway-state",
		args: func(j *Job) []string {
			args := []string{
				"slipway", "build", "--isolation=" + isolation, "--progress=plain", "--state-dir=/slipway-state",
				"--insecure-registry=" + j.Registry, "--tag=" + j.Image,
			}
			if j.Cache != "" {
				args = append(args, "--cache", "--cache-repo="+j.Cache)
			}
			return append(args, append(buildArgs(j, "--build-arg="), "/workspace")...)
		},
	}, nil
}

// Kaniko builds with its executor as its image has it: as root, with its files in /kaniko.
func Kaniko(rootfs string) Builder {
	return &inPod{
		name: "kaniko", program: "executor", shape: pod.Default(), rootfs: rootfs,
		env: []string{"PATH=/usr/local/bin:/kaniko", "HOME=/root", "USER=root", "SSL_CERT_DIR=/kaniko/ssl/certs", "DOCKER_CONFIG=/kaniko/.docker/"},
		args: func(j *Job) []string {
			args := []string{"/kaniko/executor", "--context=dir:///workspace", "--destination=" + j.Image, "--insecure", "--insecure-pull"}
			if j.Cache != "" {
				args = append(args, "--cache=true", "--cache-copy-layers", "--cache-repo="+j.Cache)
			}
			return append(args, buildArgs(j, "--build-arg=")...)
		},
	}
}

func buildArgs(j *Job, flag string) []string {
	var args []string
	for _, key := range slices.Sorted(maps.Keys(j.Args)) {
		args = append(args, flag+key+"="+j.Args[key])
	}
	return args
}

// Name implements Builder.
func (b *inPod) Name() string { return b.name }

// inGroup calls f with a control group, which it removes afterwards. Programs are the builder's own.
func inGroup(f func(*usage.Group) (usage.Usage, error), programs ...string) (u usage.Usage, err error) {
	g, err := usage.New(fmt.Sprintf("slipway-bench-%d", os.Getpid()), programs...) // there is one build at a time
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, g.Remove()) }()
	return f(g)
}

// Build implements Builder.
func (b *inPod) Build(ctx context.Context, j *Job) (usage.Usage, error) {
	return inGroup(func(g *usage.Group) (usage.Usage, error) { return b.build(ctx, j, g) }, b.program)
}

func (b *inPod) build(ctx context.Context, j *Job, g *usage.Group) (u usage.Usage, err error) {
	state := filepath.Join(j.Disk, "state")
	if err := os.Mkdir(state, 0o777); err != nil {
		return u, err
	}
	if err := os.Chmod(state, 0o777); err != nil {
		return u, err
	}
	spec := pod.Spec{
		Shape: b.shape, Rootfs: b.rootfs, Env: b.env, Args: b.args(j), HostNetwork: true, Cgroup: g.Path("pod"), Scratch: j.Disk,
		Volumes: []pod.Volume{{Path: "/workspace", Host: j.Context}},
	}
	if b.state != "" {
		spec.Volumes = append(spec.Volumes, pod.Volume{Path: b.state, Host: state})
	}
	var result pod.Result
	u, err = g.Measure(func() (err error) {
		result, err = pod.Execute(ctx, spec)
		return err
	})
	u.Wall = result.Elapsed
	if err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("exit code %d\n%s", result.ExitCode, tail(result.Stdout+result.Stderr))
	}
	return u, err
}

// tail is the end of an output.
func tail(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
