package report

import (
	"fmt"
	"strings"
	"time"
)

// isOurs says whether a builder is slipway.
func isOurs(builder string) bool { return strings.HasPrefix(builder, "slipway") }

// Markdown is the page. about says what each workload is.
func (d *Data) Markdown(about map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\nMeasured on %s, on %s.\n\n", d.Date.Format(time.DateOnly), strings.Join(d.Machines, "; other rounds on "))
	for _, name := range d.Builders() {
		fmt.Fprintf(&b, "* %s: %s\n", name, d.Versions[name])
	}
	b.WriteString("\nEvery build begins with nothing on the machine and pushes to a registry on loopback; in each round each builder builds once. ")
	b.WriteString("Memory is what all processes of a build have at most at a time without the page cache, and of its own what those that run the builder's program have: without what RUN runs. ")
	b.WriteString("Ratios are of wall times in one round, and like all figures here medians over the rounds.\n")
	d.ratios(&b)
	b.WriteString("\n![Wall time](wall.svg)\n\n## Figures\n\n")
	for _, w := range d.Workloads() {
		fmt.Fprintf(&b, "### %s\n\n%s.\n\n", w, about[w])
		d.figures(&b, w)
	}
	d.growth(&b)
	return b.String()
}

// ratios writes the table of slipway beside its peers.
func (d *Data) ratios(b *strings.Builder) {
	for _, ours := range d.Builders() {
		if !isOurs(ours) {
			continue
		}
		fmt.Fprintf(b, "\n## %s beside others\n\nWhat %s takes where the other takes 1, and in brackets what it may take.\n\n| workload | rounds |", ours, ours)
		var peers []string
		for _, p := range d.Builders() {
			if !isOurs(p) {
				peers = append(peers, p)
				fmt.Fprintf(b, " %s |", p)
			}
		}
		fmt.Fprintf(b, "\n|---|---|%s\n", strings.Repeat("---|", len(peers)))
		for _, w := range d.Workloads() {
			fmt.Fprintf(b, "| %s | %d |", w, len(d.of(w, ours)))
			for _, p := range peers {
				fmt.Fprintf(b, " %s |", cell(d.Ratio(w, ours, p), TargetOf(w).of(p)))
			}
			b.WriteString("\n")
		}
	}
}

// cell is a ratio and its target.
func cell(ratio, target float64) string {
	switch {
	case ratio == 0:
		return "–"
	case ratio > target:
		return fmt.Sprintf("**%.2f** (%.1f)", ratio, target)
	}
	return fmt.Sprintf("%.2f (%.1f)", ratio, target)
}

// figures writes the table of a workload.
func (d *Data) figures(b *strings.Builder, workload string) {
	b.WriteString("| builder | wall s | min–max | user s | system s | memory MB | of its own MB | received MB | sent MB | new layers MB |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, name := range d.Builders() {
		runs := d.of(workload, name)
		if len(runs) == 0 {
			fmt.Fprintf(b, "| %s | failed: %s | | | | | | | | |\n", name, d.reason(workload, name))
			continue
		}
		seconds := func(of func(Run) time.Duration) float64 { return Median(runs, of).Seconds() }
		megabytes := func(of func(Run) int64) float64 { return float64(Median(runs, of)) / 1e6 }
		shortest, longest := runs[0].Usage.Wall, runs[0].Usage.Wall
		for _, r := range runs {
			shortest, longest = min(shortest, r.Usage.Wall), max(longest, r.Usage.Wall)
		}
		fmt.Fprintf(b, "| %s | %.2f | %.2f–%.2f | %.2f | %.2f | %.0f | %s | %.2f | %.2f | %.2f |\n", name,
			seconds(func(r Run) time.Duration { return r.Usage.Wall }), shortest.Seconds(), longest.Seconds(),
			seconds(func(r Run) time.Duration { return r.Usage.User }), seconds(func(r Run) time.Duration { return r.Usage.System }),
			megabytes(func(r Run) int64 { return r.Usage.Memory }), own(name, Median(runs, func(r Run) int64 { return r.Usage.Own })),
			megabytes(func(r Run) int64 { return r.Traffic.Received }), megabytes(func(r Run) int64 { return r.Traffic.Sent }),
			megabytes(func(r Run) int64 { return r.Size }))
	}
	b.WriteString("\n")
}

// own is a builder's memory in megabytes, and whether it may have it.
func own(builder string, bytes int64) string {
	if isOurs(builder) && bytes > MaxMemory {
		return fmt.Sprintf("**%.0f**", float64(bytes)/1e6)
	}
	return fmt.Sprintf("%.0f", float64(bytes)/1e6)
}

// reason is the last line of why a builder has no result.
func (d *Data) reason(workload, builder string) string {
	for _, r := range d.Runs {
		if r.Workload == workload && r.Builder == builder && r.Error != "" {
			lines := strings.Split(strings.TrimSpace(r.Error), "\n")
			return strings.ReplaceAll(lines[len(lines)-1], "|", `\|`)
		}
	}
	return "not run"
}

// growth writes what is known of how cost grows.
func (d *Data) growth(b *strings.Builder) {
	series := d.Series()
	if len(series) == 0 {
		return
	}
	b.WriteString("## Growth\n\nThe slope is that of the logarithms of time and size between the largest sizes of which one is at least four times the other: 1 is linear growth, less is better. Memory is the builder's own.\n\n")
	for _, s := range series {
		fmt.Fprintf(b, "### %s\n\n![%s](growth-%s.svg)\n\n| builder | slope |", s, s, s)
		sizes := names(d.seriesOf(s), func(p Point) int64 { return p.N })
		for _, n := range sizes {
			fmt.Fprintf(b, " %d |", n)
		}
		fmt.Fprintf(b, "\n|---|---|%s\n", strings.Repeat("---|", len(sizes)))
		for _, name := range names(d.seriesOf(s), func(p Point) string { return p.Builder }) {
			fmt.Fprintf(b, "| %s | %.2f |", name, d.Slope(s, name))
			for _, n := range sizes {
				u, ok := d.at(s, name, n)
				if !ok {
					b.WriteString(" – |")
					continue
				}
				fmt.Fprintf(b, " %.2f s, %d MB |", u.Wall.Seconds(), u.Own/1e6)
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
}
