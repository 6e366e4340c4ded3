package sentry

import (
	"errors"
	"fmt"

	"gvisor.dev/gvisor/pkg/bpf"
	"gvisor.dev/gvisor/pkg/seccomp"
	"gvisor.dev/gvisor/pkg/sentry/platform/systrap"
	"gvisor.dev/gvisor/runsc/boot"
	filter "gvisor.dev/gvisor/runsc/boot/filter/config"
	"gvisor.dev/gvisor/runsc/config"
)

// Filter is a program for seccomp(2), with which a kernel's process forbids itself most system calls of the
// host before anything of the RUN is loaded: the one that runsc installs.
type Filter []bpf.Instruction

// Compile makes the filter of kernels with this access to networks. It takes about as long as
// starting a kernel does, so the builder does it once for all of them; it must be a process of the same
// priority.
func Compile(network bool) (Filter, error) {
	raw, err := rawSockets(network)
	if err != nil {
		return nil, err
	}
	o := filter.Options{
		Platform:    (*systrap.Systrap)(nil).SeccompInfo(),
		HostNetwork: network, HostNetworkRawSockets: network && raw,
		ControllerFD: controlFD, CgoEnabled: config.CgoEnabled,
	}
	allowed, denied := filter.Rules(o)
	p := seccomp.Program{
		RuleSets: []seccomp.RuleSet{{Rules: denied}, {Rules: allowed, Action: seccomp.Allow}},
		Options:  filter.SeccompOptions(o),
	}
	f, _, err := p.Build()
	if err != nil {
		return nil, fmt.Errorf("compiling the filter of a kernel's system calls: %w", err)
	}
	return f, nil
}

// filtered has the kernel install the filter in place of one that it would compile itself. Without it
// the process ends.
func filtered(l *boot.Loader, f Filter) {
	l.PreSeccompCallback = func() {
		err := errors.New("there is none")
		if len(f) > 0 {
			err = seccomp.SetFilter(f)
		}
		if err != nil {
			end(0, fmt.Errorf("forbidding itself system calls: %w", err))
		}
	}
}
