package main

import (
	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/registry"
)

// registryOptions turns what the flags say about registries into the options of a client.
func registryOptions(c *cli.Context) (registry.Options, error) {
	hosts, err := registryHosts(c)
	if err != nil {
		return registry.Options{}, err
	}
	return registry.Options{
		UserAgent: "slipway/" + versionString(),
		Push: registry.Access{
			PlainHTTP:     c.Bool("insecure"),
			SkipTLSVerify: c.Bool("skip-tls-verify"),
		},
		Pull: registry.Access{
			PlainHTTP:     c.Bool("insecure-pull"),
			SkipTLSVerify: c.Bool("skip-tls-verify") || c.Bool("skip-tls-verify-pull"),
		},
		Hosts: hosts,
	}, nil
}

// registryHosts collects what the flags say about single registries.
func registryHosts(c *cli.Context) (map[string]registry.Host, error) {
	certificates, err := pairs("registry-certificate", c.StringSlice("registry-certificate"), true)
	if err != nil {
		return nil, err
	}
	hosts := map[string]registry.Host{}
	change := func(name string, f func(*registry.Host)) {
		h := hosts[name]
		f(&h)
		hosts[name] = h
	}
	for _, name := range c.StringSlice("insecure-registry") {
		change(name, func(h *registry.Host) { h.PlainHTTP = true })
	}
	for _, name := range c.StringSlice("skip-tls-verify-registry") {
		change(name, func(h *registry.Host) { h.SkipTLSVerify = true })
	}
	for name, file := range certificates {
		change(name, func(h *registry.Host) { h.CAFile = file })
	}
	return hosts, nil
}
