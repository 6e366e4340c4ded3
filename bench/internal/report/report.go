// Package report turns what was measured into a page with charts.
package report

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/slipway-build/slipway/bench/internal/server"
	"github.com/slipway-build/slipway/bench/internal/usage"
)

// Run is one build of one builder.
type Run struct {
	Workload, Builder string
	Round             int
	Usage             usage.Usage
	Traffic           server.Traffic
	// Size is of the layers that are new, as pushed, in bytes.
	Size int64
	// Error is why there is nothing else; "" if the image is right.
	Error string `json:",omitempty"`
}

// Point is one build of a growth series.
type Point struct {
	Series, Builder string
	// N is what grows: files, layers or bytes.
	N     int64
	Round int
	Usage usage.Usage
	Error string `json:",omitempty"`
}

// Data is all that was measured, and where.
type Data struct {
	// Machines are those on which it was measured: more than one if rounds were added on another. A round is always of one.
	Machines []string
	Date     time.Time
	// Versions of the builders, by name.
	Versions map[string]string
	Runs     []Run
	Points   []Point
}

// Parse reads what [Data.JSON] gave.
func Parse(data []byte) (*Data, error) {
	d := &Data{}
	return d, json.Unmarshal(data, d)
}

// JSON is the data as they are kept.
func (d *Data) JSON() ([]byte, error) { return json.MarshalIndent(d, "", " ") }

// Begin says that what is added from now on is measured on a machine.
func (d *Data) Begin(now time.Time, machine string) {
	d.Date = now.UTC()
	if !slices.Contains(d.Machines, machine) {
		d.Machines = append(d.Machines, machine)
	}
}

// RunsOf is how many there are of a run's workload and builder: the number of its round.
func (d *Data) RunsOf(next Run) int {
	return count(d.Runs, func(r Run) bool { return r.Workload == next.Workload && r.Builder == next.Builder })
}

// PointsOf is how many there are of a point's series, size and builder: the number of its round.
func (d *Data) PointsOf(next Point) int {
	return count(d.Points, func(p Point) bool { return p.Series == next.Series && p.Builder == next.Builder && p.N == next.N })
}

func count[T any](all []T, is func(T) bool) (n int) {
	for _, x := range all {
		if is(x) {
			n++
		}
	}
	return n
}

// Builders lists the names of builders in order of their first appearance.
func (d *Data) Builders() []string { return names(d.Runs, func(r Run) string { return r.Builder }) }

// Workloads lists those of workloads.
func (d *Data) Workloads() []string { return names(d.Runs, func(r Run) string { return r.Workload }) }

// Series lists the names of growth series.
func (d *Data) Series() []string { return names(d.Points, func(p Point) string { return p.Series }) }

func names[T any, N comparable](all []T, of func(T) N) (found []N) {
	for _, x := range all {
		if n := of(x); !slices.Contains(found, n) {
			found = append(found, n)
		}
	}
	return found
}

// of gives the runs of one builder with one workload that have a result.
func (d *Data) of(workload, builder string) (runs []Run) {
	for _, r := range d.Runs {
		if r.Workload == workload && r.Builder == builder && r.Error == "" {
			runs = append(runs, r)
		}
	}
	return runs
}

// Ratio is the median, over the rounds that both have, of what slipway's builder took as a part of what the peer took; 0 if there is
// no such round.
func (d *Data) Ratio(workload, ours, peer string) float64 {
	var ratios []float64
	for _, a := range d.of(workload, ours) {
		for _, b := range d.of(workload, peer) {
			if a.Round == b.Round {
				ratios = append(ratios, a.Usage.Wall.Seconds()/b.Usage.Wall.Seconds())
			}
		}
	}
	return median(ratios)
}

// Median is that of a figure over runs.
func Median[T cmp.Ordered](runs []Run, figure func(Run) T) T {
	all := make([]T, len(runs))
	for i, r := range runs {
		all[i] = figure(r)
	}
	return median(all)
}

func median[T cmp.Ordered](all []T) (m T) {
	if len(all) == 0 {
		return m
	}
	slices.Sort(all)
	return all[len(all)/2]
}
