package pod

import (
	"context"
	"errors"
)

// Execute runs a container to its end, for programs that are no tests. It is killed when ctx ends.
// Spec.Timeout does not count.
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
		c.kill()
		<-ended
		return Result{}, context.Cause(ctx)
	}
}
