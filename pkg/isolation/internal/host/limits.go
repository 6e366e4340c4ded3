package host

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/supervisor"
)

// Rlimits translates limits for the backend of the given name. Those that only the node's
// administrator could set are an *isolation.UnsupportedError, unless mayRaise says that the
// process has CAP_SYS_RESOURCE where it counts.
func Rlimits(backend string, limits []isolation.Ulimit, mayRaise bool) ([]supervisor.Rlimit, error) {
	var out []supervisor.Rlimit
	for _, u := range limits {
		resource, ok := resources()[u.Name]
		if !ok {
			return nil, fmt.Errorf("isolation: unknown limit --ulimit %s", u.Name)
		}
		r := supervisor.Rlimit{Resource: resource, Soft: limitValue(u.Soft), Hard: limitValue(u.Hard)}
		if r.Soft > r.Hard {
			return nil, fmt.Errorf("isolation: --ulimit %s=%d:%d: the soft limit is above the hard one", u.Name, u.Soft, u.Hard)
		}
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return nil, fmt.Errorf("isolation: --ulimit %s: %w", u.Name, err)
		}
		if r.Hard > now.Max && !mayRaise {
			return nil, &isolation.UnsupportedError{
				Backend: backend, What: fmt.Sprintf("--ulimit %s=%d:%d", u.Name, u.Soft, u.Hard),
				Reason: fmt.Sprintf("the pod's own limit is %d, and raising it takes CAP_SYS_RESOURCE", now.Max),
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func limitValue(v int64) uint64 {
	if v < 0 {
		return unix.RLIM_INFINITY
	}
	return uint64(v)
}

// resources are the names of setrlimit(2) without RLIMIT_.
func resources() map[string]int {
	return map[string]int{
		"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
		"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
		"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
		"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
		"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
	}
}
