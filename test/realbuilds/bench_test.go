package realbuilds

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkIsolation builds the same Dockerfiles with each backend by turns, in the pod that it is for. The metric "ratio" is what the
// median build under the sandbox takes, where one with namespaces takes 1. "compute" asks the kernel for
// nothing, "pipe" sends 1 GiB from one process to another, "forks" starts 2000 processes, "calls" makes a million system calls with a path,
// "start" is ten RUNs that do nothing, "apt" installs a compiler, "compile" builds Go's standard library.
func BenchmarkIsolation(b *testing.B) {
	m := prepare(b)
	network := append(networkFlags(b), "--no-cache")
	for _, name := range []string{"compute", "pipe", "forks", "calls", "start", "apt", "compile"} {
		b.Run(name, func(b *testing.B) {
			times := map[string][]time.Duration{}
			build := func(with backend) time.Duration {
				started := time.Now()
				m.build(b, with, project{name: "bench-" + name, based: true}, network)
				return time.Since(started)
			}
			for _, with := range backends() {
				build(with) // the layers of the base are in the state directory from now on
			}
			for b.Loop() {
				for _, with := range backends() {
					times[with.name] = append(times[with.name], build(with))
				}
			}
			for with, all := range times {
				b.ReportMetric(median(all).Seconds(), "s/"+with)
			}
			b.ReportMetric(median(times["sandbox"]).Seconds()/median(times["namespace"]).Seconds(), "ratio")
		})
	}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}
