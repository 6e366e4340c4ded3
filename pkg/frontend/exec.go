package frontend

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
)

// decodeExec decodes RUN. It returns the number of outputs, too.
func decodeExec(o *rawOp, e *pb.ExecOp, inputs int) (op.Op, int, error) {
	meta := e.GetMeta()
	if err := checkExec(o, e); err != nil {
		return nil, 0, err
	}
	out := &op.Exec{
		Args: meta.GetArgs(), Env: meta.GetEnv(),
		Cwd: meta.GetCwd(), User: meta.GetUser(),
		Hostname:     meta.GetHostname(),
		ProxyEnv:     proxyEnv(meta.GetProxyEnv()),
		CgroupParent: meta.GetCgroupParent(),
		Resources:    resources(o.meta.GetLinuxResources()),
		Platform:     fromPB(o.pb.GetPlatform()),
		FreshCaches:  o.meta.GetIgnoreCache(),
	}
	for _, u := range meta.GetUlimit() {
		out.Ulimits = append(out.Ulimits, isolation.Ulimit{Name: u.GetName(), Soft: u.GetSoft(), Hard: u.GetHard()})
	}
	var err error
	if out.Network, err = network(e.GetNetwork()); err != nil {
		return nil, 0, err
	}
	if out.Insecure, err = insecure(e.GetSecurity()); err != nil {
		return nil, 0, err
	}
	if out.Hosts, err = hosts(meta.GetExtraHosts()); err != nil {
		return nil, 0, err
	}
	if out.SecretEnv, err = secretEnv(e.GetSecretenv()); err != nil {
		return nil, 0, err
	}
	// Those that are not optional were refused.
	for _, d := range e.GetCdiDevices() {
		out.AbsentDevices = append(out.AbsentDevices, d.GetName())
	}
	var outputs int
	if out.Mounts, outputs, err = mounts(e.GetMounts(), inputs); err != nil {
		return nil, 0, err
	}
	return out, outputs, nil
}

// checkExec checks what has no counterpart in [op.Exec], and what no process is without.
func checkExec(o *rawOp, e *pb.ExecOp) error {
	meta := e.GetMeta()
	if len(meta.GetArgs()) == 0 {
		return fmt.Errorf("build graph: RUN has no arguments")
	}
	if err := absolute("working directory", meta.GetCwd()); err != nil {
		return err
	}
	if os := o.pb.GetPlatform().GetOS(); os != "linux" {
		return &UnsupportedError{What: fmt.Sprintf("RUN for the operating system %q", os)}
	}
	if codes := meta.GetValidExitCodes(); len(codes) > 0 {
		return &UnsupportedError{What: "RUN that may end with an exit code other than 0"}
	}
	// Of a scanner's root nothing is kept.
	if !meta.GetRemoveMountStubsRecursive() && !isScanner(meta) {
		return &UnsupportedError{What: "RUN that leaves mount points behind"}
	}
	for _, d := range e.GetCdiDevices() {
		if !d.GetOptional() {
			return &UnsupportedError{
				What:   "RUN --device=" + d.GetName(),
				Reason: "Slipway has no CDI devices; an optional device would be left out",
			}
		}
	}
	return nil
}

func network(mode pb.NetMode) (isolation.Network, error) {
	switch mode {
	case pb.NetMode_UNSET:
		return isolation.NetworkDefault, nil
	case pb.NetMode_HOST:
		return isolation.NetworkHost, nil
	case pb.NetMode_NONE:
		return isolation.NetworkNone, nil
	}
	return 0, &UnsupportedError{What: fmt.Sprintf("network mode %v", mode)}
}

func insecure(mode pb.SecurityMode) (bool, error) {
	switch mode {
	case pb.SecurityMode_SANDBOX:
		return false, nil
	case pb.SecurityMode_INSECURE:
		return true, nil
	}
	return false, &UnsupportedError{What: fmt.Sprintf("security mode %v", mode)}
}

// proxyEnv lists the proxies that are set.
func proxyEnv(p *pb.ProxyEnv) []string {
	var out []string
	for _, v := range []struct{ name, value string }{
		{"HTTP_PROXY", p.GetHttpProxy()},
		{"HTTPS_PROXY", p.GetHttpsProxy()},
		{"FTP_PROXY", p.GetFtpProxy()},
		{"NO_PROXY", p.GetNoProxy()},
		{"ALL_PROXY", p.GetAllProxy()},
	} {
		if v.value != "" {
			out = append(out, v.name+"="+v.value)
		}
	}
	return out
}

// hosts checks that each host is one word and has an address: they become lines of a file.
func hosts(list []*pb.HostIP) ([]isolation.Host, error) {
	var out []isolation.Host
	for _, h := range list {
		if _, err := netip.ParseAddr(h.GetIP()); err != nil {
			return nil, fmt.Errorf("address of host %q: %w", h.GetHost(), err)
		}
		if name := h.GetHost(); name == "" || strings.ContainsAny(name, " \t\r\n#") {
			return nil, fmt.Errorf("%q is not a host name", name)
		}
		out = append(out, isolation.Host{Name: h.GetHost(), IP: h.GetIP()})
	}
	return out, nil
}

func secretEnv(list []*pb.SecretEnv) ([]op.SecretEnv, error) {
	var out []op.SecretEnv
	for _, s := range list {
		if name := s.GetName(); name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, fmt.Errorf("secret %q: %q is not the name of an environment variable", s.GetID(), name)
		}
		out = append(out, op.SecretEnv{ID: s.GetID(), Name: s.GetName(), Optional: s.GetOptional()})
	}
	return out, nil
}

func resources(r *pb.LinuxResources) *isolation.Resources {
	if r == nil {
		return nil
	}
	return &isolation.Resources{
		Memory: r.GetMemory(), MemorySwap: r.GetMemorySwap(),
		CPUShares: r.GetCpuShares(), CPUPeriod: r.GetCpuPeriod(), CPUQuota: r.GetCpuQuota(),
		CPUSetCPUs: r.GetCpusetCpus(), CPUSetMems: r.GetCpusetMems(),
	}
}
