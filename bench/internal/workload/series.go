package workload

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// Series are workloads that differ in size.
type Series struct {
	Name string
	// Sizes in ascending order, in the unit of the name.
	Sizes []int64
	// Of is the workload of a size.
	Of func(n int64) Workload
}

// AllSeries are the growth series.
func AllSeries() []Series {
	return []Series{
		{Name: "files", Sizes: []int64{1000, 10_000, 75_000, 300_000}, Of: files},
		{Name: "layers", Sizes: []int64{1, 12, 50, 200}, Of: layers},
		{Name: "megabytes", Sizes: []int64{10, 100, 1000, 4000}, Of: megabytes},
	}
}

// files is a RUN that makes n files.
func files(n int64) Workload {
	return Workload{
		Name: fmt.Sprintf("files-%d", n), Want: []string{fmt.Sprintf("data/%d/499", n/500-1)},
		Dockerfile: head + "FROM $REGISTRY/debian:base\nRUN " + perlFiles("/data", int(n/500), 500) + "\n",
	}
}

// layers is n RUNs.
func layers(n int64) Workload {
	var d strings.Builder
	d.WriteString(head + "FROM $REGISTRY/debian:base\n")
	for i := range n {
		fmt.Fprintf(&d, "RUN echo %d >/step-%d\n", i, i)
	}
	return Workload{Name: fmt.Sprintf("layers-%d", n), Dockerfile: d.String(), Want: []string{"step-0", fmt.Sprintf("step-%d", n-1)}}
}

// megabytes is a COPY of a context of that size, in files of a megabyte.
func megabytes(n int64) Workload {
	return Workload{
		Name: fmt.Sprintf("megabytes-%d", n), Dockerfile: head + "FROM $REGISTRY/debian:base\nCOPY src /src\n", Want: []string{"src/d000/e0/f00"},
		Context: func(_ context.Context, dir string) error {
			return newWords(4).write(filepath.Join(dir, "src"), int(n), n<<20)
		},
	}
}
