package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-build/slipway/test/conformance/shim/hub"
	"github.com/slipway-build/slipway/test/pod"
)

// build runs "slipway build".
func (c *Client) build(ctx context.Context, g graphs, opt SolveOpt, status chan *SolveStatus) (*SolveResponse, error) {
	dir, err := os.MkdirTemp(c.dir, "build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if opt, err = c.withSessions(ctx, dir, opt); err != nil {
		return nil, err
	}
	i := &invocation{program: os.Getenv(BinaryEnv), dir: dir, cacheDir: c.cacheDir(), opt: opt}
	if err := i.translate(ctx, g); err != nil {
		return nil, err
	}
	metadata := filepath.Join(dir, "metadata.json")
	flags := append(i.flags, "--progress=rawjson", "--metadata-file="+metadata)
	if _, err := c.run(ctx, i.program, "build", flags, i.args, i.stdin, status, i.failed); err != nil {
		return nil, err
	}
	response, err := readMetadata(metadata)
	if err != nil {
		return nil, err
	}
	if err := i.deliver(response.ExporterResponse); err != nil {
		return nil, err
	}
	return response, nil
}

// run runs a command of slipway, which is program and gives its standard output. The lines on its standard error that
// --progress=rawjson writes go to status; the others are the error if it fails, with what failed makes of them.
func (c *Client) run(ctx context.Context, program, command string, flags, args []string, stdin io.Reader, status chan *SolveStatus, failed func(report string, err error) error) ([]byte, error) {
	all := append(append([]string{command, "--state-dir=" + c.stateDir()}, flags...), args...)
	environment := []string{
		"HTTPS_PROXY=" + os.Getenv(hub.ProxyEnv), "SSL_CERT_FILE=" + os.Getenv(hub.CertificateEnv), "NO_PROXY=localhost,127.0.0.1",
	}
	if rootfs := os.Getenv(RootfsEnv); rootfs != "" {
		return inPod(ctx, rootfs, program, all, environment, stdin, status, failed)
	}
	cmd := exec.CommandContext(ctx, program, all...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Env = append(os.Environ(), environment...)
	cmd.Stdin = stdin
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	report, readErr := follow(ctx, stderr, status)
	err = errors.Join(cmd.Wait(), readErr)
	if cause := ctx.Err(); err != nil && cause != nil {
		return nil, cause
	}
	if err != nil {
		return stdout.Bytes(), failed(report, err)
	}
	return stdout.Bytes(), nil
}

// shapes are the pods for backends that are tested in one each: for inplace, which takes the root, and for sandbox,
// which is for the pod that allows nothing.
func shapes() map[string]pod.Shape {
	return map[string]pod.Shape{"inplace": pod.Baseline(), "sandbox": pod.Restricted()}
}

// Shaped reports whether a backend is tested in containers shaped like pods.
func Shaped(isolation string) bool {
	_, ok := shapes()[isolation]
	return ok
}

// inPod is run in a container of its own, shaped like a pod.
func inPod(ctx context.Context, rootfs, program string, args, environment []string, stdin io.Reader, status chan *SolveStatus, failed func(report string, err error) error) ([]byte, error) {
	if program == os.Getenv(BinaryEnv) {
		program = "slipway" // that of the image
	}
	// The directory of the caller, if the container has it.
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(dir, os.TempDir()+"/") {
		dir = ""
	}
	isolation := os.Getenv(IsolationEnv)
	shape := shapes()[isolation]
	progress, stderr := io.Pipe()
	type followed struct {
		report string
		err    error
	}
	done := make(chan followed, 1)
	go func() {
		report, err := follow(ctx, progress, status)
		done <- followed{report, errors.Join(err, progress.Close())}
	}()
	result, err := pod.Execute(ctx, pod.Spec{
		Shape: shape, Rootfs: rootfs, Args: append([]string{program}, args...),
		Env: slices.Concat(pod.SlipwayEnv(), environment, []string{IsolationEnv + "=" + isolation}),
		// All files of the tests are there, and their servers on the loopback device.
		Volumes:     []pod.Volume{{Path: os.TempDir(), Host: os.TempDir(), Owner: shape.UID}},
		HostNetwork: true,
		Dir:         dir,
		Stdin:       stdin,
		Stderr:      stderr,
	})
	said := errors.Join(err, stderr.Close())
	f := <-done
	if said != nil {
		return nil, said
	}
	if err = f.err; err == nil && result.ExitCode != 0 {
		err = fmt.Errorf("exit status %d", result.ExitCode)
	}
	if err != nil {
		return []byte(result.Stdout), failed(f.report, err)
	}
	return []byte(result.Stdout), nil
}

// follow passes progress on, and gives the lines that are none.
func follow(ctx context.Context, r io.Reader, status chan *SolveStatus) (string, error) {
	var report strings.Builder
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var s SolveStatus
		if !bytes.HasPrefix(lines.Bytes(), []byte("{")) || json.Unmarshal(lines.Bytes(), &s) != nil {
			report.Write(lines.Bytes())
			report.WriteByte('\n')
			continue
		}
		if status == nil {
			continue
		}
		select {
		case status <- &s:
		case <-ctx.Done():
		}
	}
	return report.String(), lines.Err()
}

// readMetadata reads the file of --metadata-file into the form of a response: values that are not
// strings are JSON in base64.
func readMetadata(path string) (*SolveResponse, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return &SolveResponse{ExporterResponse: map[string]string{}}, nil
	}
	if err != nil {
		return nil, err
	}
	values := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &values); err != nil {
		return nil, fmt.Errorf("metadata file: %w", err)
	}
	response := map[string]string{}
	for key, value := range values {
		var s string
		if json.Unmarshal(value, &s) != nil {
			s = base64.StdEncoding.EncodeToString(value)
		}
		response[key] = s
	}
	return &SolveResponse{ExporterResponse: response}, nil
}
