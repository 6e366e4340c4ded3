package build

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/containerd/platforms"
	"github.com/docker/go-units"

	"github.com/slipway-build/slipway/pkg/frontend"
	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
)

// frontendOptions translates what the frontend has to know.
func (o *Options) frontendOptions() (frontend.Options, error) {
	f := frontend.Options{
		Target:        o.Target,
		BuildArgs:     map[string]string{},
		Labels:        o.Labels,
		Inputs:        o.Inputs,
		NoCache:       o.NoCache,
		NoCacheStages: o.NoCacheFilter,
		CgroupParent:  o.CgroupParent,
	}
	for k, v := range o.BuildArgs {
		f.BuildArgs[k] = v
	}
	if o.Epoch != nil {
		f.BuildArgs[epochArg] = fmt.Sprint(o.Epoch.Unix())
	}
	if o.Check {
		f.Request = "frontend.lint"
	}
	if o.Pull {
		f.ImageResolveMode = "pull"
	}
	switch o.Network {
	case "", "default":
	case "none", "host":
		f.Network = o.Network
	default:
		return f, fmt.Errorf("network %q is not one of default, none, host", o.Network)
	}
	if o.Hermetic {
		if o.Network == "host" {
			return f, errors.New("--hermetic and --network host exclude each other")
		}
		f.Network = "none"
	}
	var err error
	if f.Platforms, err = parsePlatforms(o.Platforms); err != nil {
		return f, err
	}
	if f.Hosts, err = parseHosts(o.AddHosts); err != nil {
		return f, err
	}
	if f.Ulimits, err = parseUlimits(o.Ulimits); err != nil {
		return f, err
	}
	if o.ShmSize != "" {
		if f.ShmSize, err = units.RAMInBytes(o.ShmSize); err != nil || f.ShmSize <= 0 {
			return f, fmt.Errorf("shm size %q is not a size in bytes, as 128m", o.ShmSize)
		}
	}
	f.Resources, err = o.resources()
	return f, err
}

// resources are the limits of RUN.
func (o *Options) resources() (isolation.Resources, error) {
	r := isolation.Resources{
		CPUShares: o.CPUShares, CPUPeriod: o.CPUPeriod, CPUQuota: o.CPUQuota,
		CPUSetCPUs: o.CPUSetCPUs, CPUSetMems: o.CPUSetMems,
	}
	var err error
	if o.Memory != "" {
		if r.Memory, err = units.RAMInBytes(o.Memory); err != nil || r.Memory <= 0 {
			return r, fmt.Errorf("memory %q is not a size in bytes, as 2g", o.Memory)
		}
	}
	switch o.MemorySwap {
	case "":
		return r, nil
	case "-1":
		r.MemorySwap = -1
	default:
		if r.MemorySwap, err = units.RAMInBytes(o.MemorySwap); err != nil || r.MemorySwap <= 0 {
			return r, fmt.Errorf("memory and swap %q are not a size in bytes, as 4g, nor -1", o.MemorySwap)
		}
	}
	if r.Memory == 0 {
		return r, errors.New("--memory-swap is the size of memory and swap together: give --memory, too")
	}
	if r.MemorySwap > 0 && r.MemorySwap < r.Memory {
		return r, fmt.Errorf("--memory-swap %s is less than --memory %s, but it is the size of both together", o.MemorySwap, o.Memory)
	}
	return r, nil
}

func parsePlatforms(values []string) ([]op.Platform, error) {
	var all []op.Platform
	for _, v := range values {
		p, err := platforms.Parse(v)
		if err != nil {
			return nil, fmt.Errorf("platform %q: %w", v, err)
		}
		p = platforms.Normalize(p)
		all = append(all, op.Platform{
			OS: p.OS, Architecture: p.Architecture, Variant: p.Variant,
			OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
		})
	}
	return all, nil
}

// parseHosts reads NAME:IP and NAME=IP; the address may be in brackets.
func parseHosts(values []string) ([]isolation.Host, error) {
	var all []isolation.Host
	for _, v := range values {
		name, ip, ok := strings.Cut(v, "=")
		if !ok {
			name, ip, ok = strings.Cut(v, ":")
		}
		ip = strings.TrimSuffix(strings.TrimPrefix(ip, "["), "]")
		addr, err := netip.ParseAddr(ip)
		if !ok || name == "" || err != nil {
			return nil, fmt.Errorf("host %q is not of the form NAME:IP", v)
		}
		all = append(all, isolation.Host{Name: name, IP: addr.String()})
	}
	return all, nil
}

func parseUlimits(values []string) ([]isolation.Ulimit, error) {
	var all []isolation.Ulimit
	for _, v := range values {
		u, err := units.ParseUlimit(v)
		if err != nil {
			return nil, fmt.Errorf("ulimit %q: %w", v, err)
		}
		all = append(all, isolation.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return all, nil
}
