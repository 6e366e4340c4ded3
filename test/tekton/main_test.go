package tekton_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-build/slipway/internal/testbase"
	"github.com/slipway-build/slipway/internal/testbin"
	"github.com/slipway-build/slipway/test/pod"
	"github.com/slipway-build/slipway/test/tekton/entrypoint"
	"github.com/slipway-build/slipway/test/tekton/node"
	"github.com/slipway-build/slipway/test/tekton/taskrun"
)

// repository is the root of the repository, from the directory where tests run.
const repository = "../.."

const (
	slipwayImage = "ghcr.io/slipway-build/slipway:v0.1.0"
	// debugImage has a shell beside slipway.
	debugImage = "registry.example.com/slipway:debug"
)

// suite is what all tests share; it does not change after TestMain.
type suite struct {
	images map[string]node.Image // those that the node has
	base   v1.Image              // a small image with a shell
}

var shared suite

func TestMain(m *testing.M) {
	if err := setUp(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func setUp(ctx context.Context) error {
	binary, err := pod.Binary(ctx)
	if err != nil {
		return err
	}
	if err := os.Setenv(testbin.Env, binary); err != nil {
		return err
	}
	program, err := testbase.Find(ctx)
	if err != nil {
		return err
	}
	if shared.base, err = program.Image(); err != nil {
		return err
	}
	prepare, err := entrypoint.Rootfs(ctx)
	slipway, slipwayErr := pod.Rootfs(ctx, "slipway")
	debug, debugErr := pod.Rootfs(ctx, "debug")
	shared.images = map[string]node.Image{
		taskrun.EntrypointImage: {Rootfs: prepare, User: entrypoint.User},
		slipwayImage:            {Rootfs: slipway, Env: pod.SlipwayEnv()},
		debugImage:              {Rootfs: debug, Env: pod.SlipwayEnv()},
	}
	return errors.Join(err, slipwayErr, debugErr)
}
