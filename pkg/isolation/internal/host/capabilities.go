package host

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// Capabilities returns the permitted capabilities of this process.
func Capabilities() (isolation.Capabilities, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("isolation: reading the capabilities: %w", err)
	}
	return isolation.Capabilities(data[0].Permitted) | isolation.Capabilities(data[1].Permitted)<<32, nil
}
