package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/bench/internal/builder"
	"github.com/slipway-build/slipway/bench/internal/disk"
	"github.com/slipway-build/slipway/bench/internal/image"
	"github.com/slipway-build/slipway/bench/internal/mirror"
	"github.com/slipway-build/slipway/bench/internal/peer"
	"github.com/slipway-build/slipway/bench/internal/report"
	"github.com/slipway-build/slipway/bench/internal/server"
	"github.com/slipway-build/slipway/bench/internal/usage"
	"github.com/slipway-build/slipway/bench/internal/workload"
	"github.com/slipway-build/slipway/internal/testbase"
)

// bench is what all builds have in common.
type bench struct {
	*options
	data      *report.Data
	registry  *server.Registry
	mirror    *mirror.Mirror
	builders  []builder.Builder
	temporary bool            // the working directory is to be removed
	checked   map[string]bool // workloads and builders whose image was read already since the start
	out       io.Writer       // for what is being done
}

// prepare makes everything that is not measured.
func prepare(ctx context.Context, o *options, data *report.Data, out io.Writer) (_ *bench, err error) {
	b := &bench{options: o, data: data, temporary: o.work == "", checked: map[string]bool{}, out: out}
	if b.temporary {
		if o.work, err = os.MkdirTemp("", "slipway-bench-"); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	kept := filepath.Join(cache, "slipway-bench")
	dirs := []string{filepath.Join(kept, "bases"), filepath.Join(kept, "mirror"), filepath.Join(o.work, "registry"), filepath.Join(o.work, "contexts")}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(o.work, 0o755); err != nil { // a pod may be somebody else's
		return nil, err
	}
	if b.registry, err = server.Start(ctx, dirs[2]); err != nil {
		return nil, err
	}
	upstreams := map[string]string{"debian": "http://deb.debian.org/debian", "npm": testbase.NPMRegistry(ctx)}
	if b.mirror, err = mirror.Start(dirs[1], upstreams); err != nil {
		return nil, err
	}
	fmt.Fprintln(b.out, "making the base images")
	if err := image.Push(ctx, dirs[0], b.registry.Host); err != nil {
		return nil, err
	}
	data.Begin(time.Now(), machine())
	if data.Versions == nil {
		data.Versions = map[string]string{}
	}
	return b, b.addBuilders(ctx)
}

func (b *bench) close() error {
	var errs []error
	if b.mirror != nil {
		errs = append(errs, b.mirror.Close())
	}
	if b.registry != nil {
		errs = append(errs, b.registry.Close())
	}
	if b.temporary {
		errs = append(errs, os.RemoveAll(b.work))
	}
	return errors.Join(errs...)
}

// addBuilders makes the builders that are asked for.
func (b *bench) addBuilders(ctx context.Context) error {
	for _, name := range b.options.builders {
		fmt.Fprintln(b.out, "making", name)
		made, version, err := b.builder(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		b.builders = append(b.builders, made)
		b.data.Versions[name] = version
	}
	return nil
}

func (b *bench) builder(ctx context.Context, name string) (builder.Builder, string, error) {
	switch name {
	case "slipway", "slipway-inplace", "slipway-sandbox":
		isolation := strings.TrimPrefix(strings.TrimPrefix(name, "slipway"), "-")
		if isolation == "" {
			isolation = "namespace"
		}
		made, err := builder.Slipway(ctx, isolation)
		return made, "this version, isolation " + isolation + ", in a pod", err
	case "kaniko":
		executor, err := peer.Kaniko(ctx)
		if err != nil {
			return nil, "", err
		}
		rootfs, err := peer.KanikoRootfs(executor, b.work)
		return builder.Kaniko(rootfs), peer.KanikoVersion + ", in a pod", err
	case "buildkit":
		programs, err := peer.BuildKit(ctx)
		return builder.BuildKit(programs), peer.BuildKitVersion + ", daemon as root with overlayfs, already started", err
	case "buildah":
		out, err := exec.CommandContext(ctx, "buildah", "--version").Output()
		return builder.Buildah(), strings.TrimSpace(string(out)) + ", as root with overlayfs, isolation chroot", err
	}
	return nil, "", errors.New("there is no such builder")
}

// round builds every workload with every builder once. Who begins changes from round to round.
func (b *bench) round(ctx context.Context, round int) error {
	for _, w := range workload.All() {
		if !slices.Contains(b.workloads, w.Name) {
			continue
		}
		for i := range b.builders {
			made := b.builders[(i+round)%len(b.builders)]
			r := report.Run{Workload: w.Name, Builder: made.Name()}
			r.Round = b.data.RunsOf(r)
			if err := b.measure(ctx, made, &w, &r); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				r.Error = err.Error()
			}
			fmt.Fprintf(b.out, "%s %s: %.2f s, %d MB, user %.2f s, system %.2f s, received %.1f MB, sent %.1f MB %s\n", r.Workload, r.Builder, r.Usage.Wall.Seconds(),
				r.Usage.Memory/1e6, r.Usage.User.Seconds(), r.Usage.System.Seconds(), float64(r.Traffic.Received)/1e6, float64(r.Traffic.Sent)/1e6, r.Error)
			b.data.Runs = append(b.data.Runs, r)
		}
	}
	return nil
}

// measure does one build, and looks at what came out.
func (b *bench) measure(ctx context.Context, made builder.Builder, w *workload.Workload, r *report.Run) (err error) {
	dir := filepath.Join(b.work, "contexts", w.Name)
	if err := w.Write(ctx, dir); err != nil {
		return fmt.Errorf("writing the context: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	repository := fmt.Sprintf("%s/%s/%s-%d", b.registry.Host, w.Name, made.Name(), r.Round)
	job := &builder.Job{
		Context: dir, Image: repository + ":latest", Registry: b.registry.Host,
		Args: map[string]string{"REGISTRY": b.registry.Host, "MIRROR": b.mirror.Host},
	}
	if w.Cached {
		job.Cache = repository + "/cache"
		first := *job
		first.Image = repository + ":first"
		if _, err := b.build(ctx, made, first); err != nil {
			return fmt.Errorf("filling the cache: %w", err)
		}
		if w.Change != nil {
			if err := w.Change(dir); err != nil {
				return err
			}
		}
	}
	before, err := b.registry.Traffic(ctx)
	if err != nil {
		return err
	}
	if r.Usage, err = b.build(ctx, made, *job); err != nil {
		return err
	}
	after, err := b.registry.Traffic(ctx)
	if err != nil {
		return err
	}
	r.Traffic = after.Since(before)
	layers, err := image.NewLayers(ctx, job.Image, b.registry.Host)
	if err != nil {
		return err
	}
	name := w.Name + " " + made.Name()
	if r.Size, err = image.Size(layers); err != nil || b.checked[name] {
		return err
	}
	b.checked[name] = true
	return image.Check(layers, w.Want)
}

// build does a job on a new disk.
func (b *bench) build(ctx context.Context, made builder.Builder, job builder.Job) (u usage.Usage, err error) {
	return u, disk.Use(ctx, b.work, func(mounted string) (err error) {
		job.Disk = mounted
		unix.Sync() // what was written before is not to be waited for
		u, err = made.Build(ctx, &job)
		return err
	})
}

// grow builds every size of every series with every builder once.
func (b *bench) grow(ctx context.Context) error {
	for _, s := range workload.AllSeries() {
		if !slices.Contains(b.series, s.Name) {
			continue
		}
		for _, n := range s.Sizes {
			w := s.Of(n)
			for _, made := range b.builders {
				p := report.Point{Series: s.Name, Builder: made.Name(), N: n}
				p.Round = b.data.PointsOf(p)
				r := report.Run{Workload: w.Name, Builder: made.Name(), Round: p.Round}
				if err := b.measure(ctx, made, &w, &r); err != nil {
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					p.Error = err.Error()
				}
				p.Usage = r.Usage
				fmt.Fprintf(b.out, "%s %d %s: %.2f s, %d MB %s\n", s.Name, n, made.Name(), p.Usage.Wall.Seconds(), p.Usage.Memory/1e6, p.Error)
				b.data.Points = append(b.data.Points, p)
			}
		}
	}
	return nil
}

// machine describes this one.
func machine() string {
	var name unix.Utsname
	var info unix.Sysinfo_t
	kernel := "an unknown kernel"
	if unix.Uname(&name) == nil {
		kernel = "Linux " + unix.ByteSliceToString(name.Release[:])
	}
	memory := ""
	if unix.Sysinfo(&info) == nil {
		memory = fmt.Sprintf(", %d GB of memory", uint64(info.Totalram)*uint64(info.Unit)/1e9)
	}
	return fmt.Sprintf("%d processors (%s)%s, %s", runtime.NumCPU(), runtime.GOARCH, memory, kernel)
}
