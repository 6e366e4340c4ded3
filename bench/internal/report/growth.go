package report

import (
	"math"

	"github.com/slipway-build/slipway/bench/internal/usage"
)

// seriesOf gives the points of a series that have a result.
func (d *Data) seriesOf(series string) (points []Point) {
	for _, p := range d.Points {
		if p.Series == series && p.Error == "" {
			points = append(points, p)
		}
	}
	return points
}

// at is the median build of a size, by wall time.
func (d *Data) at(series, builder string, n int64) (usage.Usage, bool) {
	var runs []Run
	for _, p := range d.seriesOf(series) {
		if p.Builder == builder && p.N == n {
			runs = append(runs, Run{Usage: p.Usage})
		}
	}
	if len(runs) == 0 {
		return usage.Usage{}, false
	}
	wall := Median(runs, func(r Run) int64 { return int64(r.Usage.Wall) })
	for _, r := range runs {
		if int64(r.Usage.Wall) == wall {
			return r.Usage, true
		}
	}
	return usage.Usage{}, false
}

// Slope is by which power of the size the time of a builder grows at the end of a series: from the largest size that is at most
// a quarter of the last one.
func (d *Data) Slope(series, builder string) float64 {
	var first, last int64
	for _, p := range d.seriesOf(series) {
		if p.Builder == builder {
			last = max(last, p.N)
		}
	}
	for _, p := range d.seriesOf(series) {
		if p.Builder == builder && p.N*4 <= last {
			first = max(first, p.N)
		}
	}
	a, okA := d.at(series, builder, first)
	b, okB := d.at(series, builder, last)
	if !okA || !okB {
		return math.NaN()
	}
	return math.Log(b.Wall.Seconds()/a.Wall.Seconds()) / math.Log(float64(last)/float64(first))
}
