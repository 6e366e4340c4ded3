package sandbox

import (
	"fmt"
	"runtime"

	"gvisor.dev/gvisor/runsc/config"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/isolation/internal/host"
)

// maxHostname is the kernel's limit for a host name (__NEW_UTS_LEN), in bytes.
const maxHostname = 64

var _ isolation.Checker = (*Backend)(nil)

// Check implements [isolation.Checker].
func (b *Backend) Check(p *isolation.Process) error {
	if err := host.Check(p); err != nil {
		return err
	}
	if len(p.Hostname) > maxHostname {
		return fmt.Errorf("isolation: host name %q is longer than %d bytes", p.Hostname, maxHostname)
	}
	if p.CgroupParent != "" || p.Resources != nil && *p.Resources != (isolation.Resources{}) {
		return unsupported("limiting the resources of a RUN", "its memory and processors are those of the sandbox's kernel")
	}
	return nil
}

func unsupported(what, reason string) error {
	return &isolation.UnsupportedError{Backend: Name, What: what, Reason: reason}
}

// checkBinary refuses binaries that cannot be such a kernel: there is none for other processors, and with a
// C library in the process its threads do not survive what systrap does to them.
func checkBinary() error {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		return unsupported("RUN", "its kernel does not exist for "+runtime.GOARCH)
	}
	if config.CgoEnabled {
		return unsupported("RUN", "this slipway was compiled with cgo; compile it with CGO_ENABLED=0")
	}
	return nil
}
