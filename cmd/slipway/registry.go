package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
	pulls, pushes := c.Int("image-download-retry"), c.Int("push-retry")
	if pulls < 0 || pushes < 0 {
		return registry.Options{}, errors.New("--image-download-retry and --push-retry are not negative")
	}
	lax := !c.Bool("tls-verify")
	return registry.Options{
		UserAgent: userAgent(),
		Push: registry.Access{
			PlainHTTP:     lax || c.Bool("insecure"),
			SkipTLSVerify: lax || c.Bool("skip-tls-verify"),
			Repeats:       pushes,
		},
		Pull: registry.Access{
			PlainHTTP:     lax || c.Bool("insecure-pull"),
			SkipTLSVerify: lax || c.Bool("skip-tls-verify") || c.Bool("skip-tls-verify-pull"),
			Repeats:       pulls,
		},
		KeepTags:    c.Bool("push-ignore-immutable-tag-errors"),
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
	clients, err := pairs("registry-client-cert", c.StringSlice("registry-client-cert"), true)
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
	for name, files := range clients {
		cert, key, both := strings.Cut(files, ",")
		if !both || cert == "" || key == "" {
			return nil, fmt.Errorf("--registry-client-cert %s=%s is not of the form HOST=CERT,KEY", name, files)
		}
		change(name, func(h *registry.Host) { h.CertFile, h.KeyFile = cert, key })
	}
	return hosts, nil
}

// Kaniko's variables for mirrors.
const (
	mirrorVariable = "KANIKO_REGISTRY_MIRROR"
	mapVariable    = "KANIKO_REGISTRY_MAP"
)

// pullOptions are registryOptions for commands that look images up by the names that users give them.
func pullOptions(c *cli.Context) (registry.Options, error) {
	o, err := registryOptions(c)
	if err != nil {
		return registry.Options{}, err
	}
	o.MirrorsOnly = c.Bool("skip-default-registry-fallback")
	o.Mirrors, err = mirrors(c)
	return o, err
}

// mirrors collects the mirrors by registry; those of flags come before those of variables, and those of maps before those
// that are given for Docker Hub alone.
func mirrors(c *cli.Context) (map[string][]string, error) {
	all := map[string][]string{}
	for _, value := range append(c.StringSlice("registry-map"), os.Getenv(mapVariable)) {
		for entry := range strings.SplitSeq(value, ";") {
			if entry = strings.TrimSpace(entry); entry == "" {
				continue
			}
			of, mirror, ok := strings.Cut(entry, "=")
			if !ok || of == "" || mirror == "" {
				return nil, fmt.Errorf("--registry-map %q is not of the form REGISTRY=MIRROR", entry)
			}
			all[of] = append(all[of], mirror)
		}
	}
	for _, mirror := range append(c.StringSlice("registry-mirror"), os.Getenv(mirrorVariable)) {
		if mirror != "" {
			all[dockerHub] = append(all[dockerHub], mirror)
		}
	}
	return all, nil
}

// dockerHub is the registry that --registry-mirror is about.
const dockerHub = "docker.io"

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
