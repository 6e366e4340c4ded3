package host

import "github.com/slipway-build/slipway/pkg/isolation"

// File is a file that a process is given, whatever its image has there.
type File struct {
	Path string
	Data []byte
}

// NetworkFiles are the files that make the pod's network usable for a process with this host name.
func NetworkFiles(hostname string, hosts []isolation.Host) ([]File, error) {
	resolv, err := isolation.ResolvConf()
	if err != nil {
		return nil, err
	}
	return []File{
		{"/etc/hosts", isolation.HostsFile(hostname, hosts)},
		{"/etc/resolv.conf", resolv},
	}, nil
}
