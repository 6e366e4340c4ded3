// Command bench builds the same images with slipway and with what it replaces, by turns on one machine, and writes a report.
// It needs root on Linux with control groups, and Debian's docker-registry, buildah, runc, mmdebstrap and npm.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/slipway-build/slipway/bench/internal/report"
	"github.com/slipway-build/slipway/bench/internal/workload"
)

// options are the flags.
type options struct {
	rounds, growthRounds        int
	workloads, builders, series []string
	work, report                string
	append                      bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	o, err := parse()
	if err != nil {
		return err
	}
	data := &report.Data{}
	if o.append {
		if data, err = read(o.report); err != nil {
			return err
		}
	}
	b, err := prepare(ctx, o, data, os.Stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	// The report is written after every round: one that was interrupted is worth something, too.
	for round := range o.rounds {
		if err := errors.Join(b.round(ctx, round), write(data, o.report)); err != nil {
			return err
		}
	}
	for range o.growthRounds {
		if err := errors.Join(b.grow(ctx), write(data, o.report)); err != nil {
			return err
		}
	}
	return write(data, o.report)
}

func parse() (*options, error) {
	o := &options{}
	var workloads, builders, series string
	flag.IntVar(&o.rounds, "rounds", 5, "how often each builder builds each workload")
	flag.IntVar(&o.growthRounds, "growth-rounds", 1, "how often each size of the growth series is built")
	flag.StringVar(&workloads, "workloads", "", "which workloads, separated by commas; all if empty")
	flag.StringVar(&builders, "builders", "slipway,slipway-inplace,kaniko,buildkit,buildah", "which builders; there is slipway-sandbox, too")
	flag.StringVar(&series, "series", "", "which growth series; all if empty, none if \"none\"")
	flag.StringVar(&o.work, "work", "", "an empty or new directory on a disk with 30 GB; a temporary one if empty")
	flag.StringVar(&o.report, "report", "report", "the directory of the report")
	flag.BoolVar(&o.append, "append", false, "keep what the report has, and add to it")
	flag.Parse()
	o.builders = strings.Split(builders, ",")
	for _, w := range workload.All() {
		if workloads == "" || slices.Contains(strings.Split(workloads, ","), w.Name) {
			o.workloads = append(o.workloads, w.Name)
		}
	}
	for _, s := range workload.AllSeries() {
		if series == "" || slices.Contains(strings.Split(series, ","), s.Name) {
			o.series = append(o.series, s.Name)
		}
	}
	if len(o.workloads) == 0 && workloads != "none" {
		return nil, fmt.Errorf("there is no workload %s", workloads)
	}
	return o, os.MkdirAll(o.report, 0o755)
}

func read(dir string) (*report.Data, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "data.json"))
	if errors.Is(err, os.ErrNotExist) {
		return &report.Data{}, nil
	}
	if err != nil {
		return nil, err
	}
	return report.Parse(raw)
}

// write writes the report.
func write(d *report.Data, dir string) error {
	raw, err := d.JSON()
	if err != nil {
		return err
	}
	about := map[string]string{}
	for _, w := range workload.All() {
		about[w.Name] = w.About
	}
	files := map[string]string{"data.json": string(raw) + "\n", "README.md": d.Markdown(about), "wall.svg": d.WallChart()}
	for _, s := range d.Series() {
		files["growth-"+s+".svg"] = d.GrowthChart(s)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
