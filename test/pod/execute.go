package pod

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// terminationGrace is terminationGracePeriodSeconds where nobody sets it.
const terminationGrace = 30 * time.Second

// Execute runs a container to its end, for programs that are no tests. When ctx ends, it is told to end, as kubelet
// does it, and then killed. Spec.Timeout does not count.
func Execute(ctx context.Context, spec Spec) (_ Result, err error) {
	c, err := newContainer(&spec)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, c.remove()) }()
	type end struct {
		result Result
		err    error
	}
	ended := make(chan end, 1)
	var stdout, stderr buffer
	inMountNamespace(
		func() {
			result, err := c.run(&spec, &stdout, &stderr)
			ended <- end{result, err}
		},
		func(err error) { ended <- end{err: err} },
	)
	select {
	case e := <-ended:
		return e.result, e.err
	case <-ctx.Done():
	}
	grace, poll := time.After(terminationGrace), time.NewTicker(pollInterval)
	defer poll.Stop()
	for told := false; ; {
		told = told || c.signal(syscall.SIGTERM) == nil // a process that has just begun cannot be told yet
		select {
		case <-ended:
			return Result{}, context.Cause(ctx)
		case <-grace:
			c.kill()
			<-ended
			return Result{}, context.Cause(ctx)
		case <-poll.C:
		}
	}
}
