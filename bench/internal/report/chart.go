package report

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"
)

// colour is that of the i-th builder: one palette that also colour-blind readers tell apart.
func colour(i int) string {
	palette := []string{"#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7"}
	return palette[i%len(palette)]
}

// The measures of the charts, in pixels.
const (
	width   = 860
	left    = 140
	right   = 70
	bar     = 12
	between = 14
	header  = 30
)

// WallChart is a chart of bars: how long each builder takes for each workload, the slowest filling the line.
func (d *Data) WallChart() string {
	builders, workloads := d.Builders(), d.Workloads()
	height := header + len(workloads)*(len(builders)*bar+between)
	var b strings.Builder
	open(&b, height)
	for i, name := range builders {
		legend(&b, i, name)
	}
	y := header
	for _, w := range workloads {
		slowest := 0.0
		for _, name := range builders {
			slowest = max(slowest, d.wall(w, name))
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", left-8, y+bar*len(builders)/2+4, html.EscapeString(w))
		for i, name := range builders {
			seconds := d.wall(w, name)
			if seconds == 0 {
				y += bar
				continue
			}
			length := seconds / slowest * (width - left - right)
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, left, y, length, bar-2, colour(i))
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%.1f s</text>`+"\n", left+length+4, y+bar-3, seconds)
			y += bar
		}
		y += between
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (d *Data) wall(workload, builder string) float64 {
	return Median(d.of(workload, builder), func(r Run) time.Duration { return r.Usage.Wall }).Seconds()
}

func open(b *strings.Builder, height int) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
}

func legend(b *strings.Builder, i int, name string) {
	x := left + i*115
	fmt.Fprintf(b, `<rect x="%d" y="8" width="10" height="10" fill="%s"/><text x="%d" y="17">%s</text>`+"\n", x, colour(i), x+14, html.EscapeString(name))
}

// GrowthChart is a chart of lines with logarithmic axes.
func (d *Data) GrowthChart(series string) string {
	const height, bottom = 360, 30
	points := d.seriesOf(series)
	builders := names(points, func(p Point) string { return p.Builder })
	sizes := names(points, func(p Point) int64 { return p.N })
	minT, maxT := math.Inf(1), 0.0
	for _, p := range points {
		minT, maxT = min(minT, p.Usage.Wall.Seconds()), max(maxT, p.Usage.Wall.Seconds())
	}
	x := func(n int64) float64 {
		return left + scale(float64(n), float64(sizes[0]), float64(sizes[len(sizes)-1]))*(width-left-right)
	}
	y := func(seconds float64) float64 { return header + (1-scale(seconds, minT, maxT))*(height-header-bottom) }
	var b strings.Builder
	open(&b, height)
	for i, name := range builders {
		legend(&b, i, name)
		var line []string
		for _, n := range sizes {
			if u, ok := d.at(series, name, n); ok {
				line = append(line, fmt.Sprintf("%.1f,%.1f", x(n), y(u.Wall.Seconds())))
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`, x(n), y(u.Wall.Seconds()), colour(i))
			}
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(line, " "), colour(i))
	}
	for _, n := range sizes {
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`, x(n), height-10, n)
	}
	for _, t := range []float64{minT, math.Sqrt(minT * maxT), maxT} {
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%.1f s</text>`+"\n", left-10, y(t)+4, t)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// scale is where v lies between low and high, from 0 to 1, logarithmically.
func scale(v, low, high float64) float64 {
	if high <= low {
		return 0
	}
	return math.Log(v/low) / math.Log(high/low)
}
