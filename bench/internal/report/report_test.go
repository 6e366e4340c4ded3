package report

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/slipway-build/slipway/bench/internal/usage"
)

// sample has two builders and three rounds, of which the last failed for the peer.
func sample() *Data {
	d := &Data{Machines: []string{"a machine"}, Versions: map[string]string{"slipway": "s", "kaniko": "k"}}
	for round, seconds := range [][2]int{{1, 4}, {3, 6}, {1, 0}} {
		d.Runs = append(d.Runs, Run{Workload: "cached", Builder: "slipway", Round: round, Usage: usage.Usage{Wall: time.Duration(seconds[0]) * time.Second}})
		peer := Run{Workload: "cached", Builder: "kaniko", Round: round, Usage: usage.Usage{Wall: time.Duration(seconds[1]) * time.Second}}
		if seconds[1] == 0 {
			peer.Error = "first line\nlast | line"
		}
		d.Runs = append(d.Runs, peer)
	}
	for i, n := range []int64{10, 100, 300, 1000} {
		d.Points = append(d.Points, Point{Series: "files", Builder: "slipway", N: n, Usage: usage.Usage{Wall: time.Second << i}})
	}
	return d
}

func TestRatioIsOfTheSameRound(t *testing.T) {
	d := sample()
	// 1/4 and 3/6; not the ratio of medians, which is 1/6.
	if got := d.Ratio("cached", "slipway", "kaniko"); got != 0.5 {
		t.Errorf("ratio is %v, want 0.5", got)
	}
	if got := d.Ratio("cached", "slipway", "buildah"); got != 0 {
		t.Errorf("ratio to a builder that was not run is %v", got)
	}
}

func TestSlope(t *testing.T) {
	// From 100 to 1000: the largest size that is at most a quarter of the last.
	want := math.Log(4) / math.Log(10)
	if got := sample().Slope("files", "slipway"); math.Abs(got-want) > 1e-9 {
		t.Errorf("slope is %v, want %v", got, want)
	}
	if got := sample().Slope("files", "kaniko"); !math.IsNaN(got) {
		t.Errorf("slope without points is %v", got)
	}
}

func TestMarkdown(t *testing.T) {
	page := sample().Markdown(map[string]string{"cached": "about it"})
	for _, want := range []string{
		"| cached | 3 | **0.50** (0.1) |", // beyond its target
		"### cached\n\nabout it.\n",
		"| slipway | 1.00 | 1.00–3.00 |",
		"| slipway | 0.60 | 1.00 s, 0 MB | 2.00 s, 0 MB | 4.00 s, 0 MB | 8.00 s, 0 MB |",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

func TestRoundsAreNumbered(t *testing.T) {
	d := sample()
	if got := d.RunsOf(Run{Workload: "cached", Builder: "kaniko"}); got != 3 { // with the one that failed
		t.Errorf("the next round of a workload is %d, want 3", got)
	}
	if got := d.PointsOf(Point{Series: "files", Builder: "slipway", N: 100}); got != 1 {
		t.Errorf("the next round of a size is %d, want 1", got)
	}
	if got := d.PointsOf(Point{Series: "files", Builder: "slipway", N: 20}); got != 0 {
		t.Errorf("the first round of a size is %d, want 0", got)
	}
}

func TestEveryMachineIsTold(t *testing.T) {
	d := sample()
	for _, machine := range []string{"a machine", "another", "another"} {
		d.Begin(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), machine)
	}
	if page, want := d.Markdown(nil), "Measured on 2026-01-02, on a machine; other rounds on another.\n"; !strings.Contains(page, want) {
		t.Errorf("the page lacks %q:\n%s", want, page)
	}
}

func TestFailureIsTold(t *testing.T) {
	d := sample()
	for i := range d.Runs {
		d.Runs[i].Error = "first line\nlast | line"
	}
	if page := d.Markdown(nil); !strings.Contains(page, `| kaniko | failed: last \| line |`) {
		t.Errorf("the page does not tell of the failure:\n%s", page)
	}
}

func TestChartsAreXML(t *testing.T) {
	for name, chart := range map[string]string{"wall": sample().WallChart(), "growth": sample().GrowthChart("files")} {
		for d := xml.NewDecoder(strings.NewReader(chart)); ; {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, chart)
			}
		}
	}
}

func TestDataAreKept(t *testing.T) {
	raw, err := sample().JSON()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Runs) != 6 || again.Points[3].Usage.Wall != 8*time.Second {
		t.Errorf("read again, the data are %+v", again)
	}
}
