package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/slipway-build/slipway/pkg/credentials"
	"github.com/slipway-build/slipway/pkg/registry"
)

// registryOptions turns what the flags say about registries into the options of a client.
func registryOptions(c *cli.Context) (registry.Options, error) {
	hosts, err := registryHosts(c)
	if err != nil {
		return registry.Options{}, err
	}
	files, err := certificates(c.String("registry-certificates-dir"))
	if err != nil {
		return registry.Options{}, err
	}
	known, err := logins(c)
	if err != nil {
		return registry.Options{}, err
	}
	lax := !c.Bool("tls-verify")
	return registry.Options{
		UserAgent: userAgent(),
		Push: registry.Access{
			PlainHTTP:     lax || c.Bool("insecure"),
			SkipTLSVerify: lax || c.Bool("skip-tls-verify"),
		},
		Pull: registry.Access{
			PlainHTTP:     lax || c.Bool("insecure-pull"),
			SkipTLSVerify: lax || c.Bool("skip-tls-verify") || c.Bool("skip-tls-verify-pull"),
		},
		Hosts:       hosts,
		CAFiles:     files,
		Credentials: known,
	}, nil
}

// userAgent is how we introduce ourselves; as with Kaniko, UPSTREAM_CLIENT_TYPE says on whose behalf.
func userAgent() string {
	agent := "slipway/" + versionString()
	if upstream := os.Getenv("UPSTREAM_CLIENT_TYPE"); upstream != "" {
		agent += "," + upstream
	}
	return agent
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
		if !filepath.IsAbs(file) {
			file = filepath.Join(c.String("registry-certificates-dir"), file)
		}
		change(name, func(h *registry.Host) { h.CAFile = file })
	}
	return hosts, nil
}

// helpersFlag is the flag for built-in credential helpers.
const helpersFlag = "credential-helpers"

// logins finds what the user has to log in with.
func logins(c *cli.Context) (credentials.Source, error) {
	o := credentials.Options{DockerConfig: c.String("docker-config")}
	if c.IsSet(helpersFlag) {
		o.Helpers = append([]string{}, splitCommas(c.StringSlice(helpersFlag))...) // none is not all
	}
	return credentials.Open(o)
}

// certificates lists the files of a directory that hold certificates.
func certificates(dir string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("registry certificates: %w", err)
	}
	var files []string
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".crt" || ext == ".pem" {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}
