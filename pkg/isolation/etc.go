package isolation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// DefaultHostname is what a process sees as its host's name unless it is given another one.
const DefaultHostname = "buildkitsandbox"

// HostsFile renders /etc/hosts, see hosts(5): the loopback names, the process's own host name, and
// the additional entries in their order.
func HostsFile(hostname string, hosts []Host) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "127.0.0.1\tlocalhost %s\n", hostname)
	b.WriteString("::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, h := range hosts {
		fmt.Fprintf(&b, "%s\t%s\n", h.IP, h.Name)
	}
	return []byte(b.String())
}

// ResolvConf is the content of /etc/resolv.conf for a process in the pod's network: the pod's
// own, or nothing if it has none.
func ResolvConf() ([]byte, error) {
	data, err := os.ReadFile("/etc/resolv.conf")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the pod's name servers: %w", err)
	}
	return data, nil
}
