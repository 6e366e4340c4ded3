package frontend

import (
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	imageref "github.com/distribution/reference"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
)

// Options is what a build is asked for. Zero values stand for the frontend's defaults.
type Options struct {
	// Filename is the Dockerfile's path in the local source "dockerfile"; "" for
	// "Dockerfile".
	Filename string
	// Target is the stage to build; "" for the last.
	Target    string
	BuildArgs map[string]string
	Labels    map[string]string
	// Platforms are the platforms to build for; none for BuildPlatform alone.
	Platforms []op.Platform
	// BuildPlatform is the platform of the machine that builds; zero for that of this
	// process.
	BuildPlatform op.Platform
	// MultiPlatform asks for the form of several platforms even if there is only one.
	MultiPlatform bool
	// Contexts are the named contexts: "local:NAME", "docker-image://REF",
	// "oci-layout://NAME@DIGEST", "input:NAME" or a URL, by the name of the stage or image that
	// they replace, with "::PLATFORM" behind it for one platform only.
	Contexts map[string]string
	// Inputs are build graphs in LLB, marshalled, that contexts "input:NAME" stand for. Those called "context" and "dockerfile"
	// take the place of the local sources of these names.
	Inputs map[string][]byte
	// NoCache asks that no step is taken from a cache, NoCacheStages the same for the
	// steps of some stages.
	NoCache       bool
	NoCacheStages []string
	// Hosts are additional lines of /etc/hosts in every RUN.
	Hosts []isolation.Host
	// Network is the network of RUN without --network: "none", "host" or "sandbox".
	Network string
	// ShmSize is the size of /dev/shm in bytes.
	ShmSize      int64
	Ulimits      []isolation.Ulimit
	CgroupParent string
	Resources    isolation.Resources
	Hostname     string
	// ImageResolveMode is "default", "pull" or "local".
	ImageResolveMode string
	// Sources says what the build may bring in; nil allows everything.
	Sources *policy.Sources
	// SBOM asks for the materials of a bill of materials; nil for none.
	SBOM *SBOM
	// Request asks for something else than an image: "frontend.lint",
	// "frontend.outline", "frontend.targets" or "frontend.subrequests.describe".
	Request string
	// Extra are further options by the frontend's names: "context", "contextkey",
	// "contextsubdir" and "dockerfilekey". Others are refused.
	Extra map[string]string
}

func (o *Options) buildPlatform() op.Platform {
	if o.BuildPlatform.OS == "" {
		return fromOCI(platforms.Normalize(platforms.DefaultSpec()))
	}
	return o.BuildPlatform
}

// frontendOpts renders the options as the frontend takes them, in a new map on each call: the
// frontend writes to it.
func (o *Options) frontendOpts() (map[string]string, error) {
	m := map[string]string{}
	for k, v := range o.Extra {
		switch k {
		case "context", "contextkey", "contextsubdir", "dockerfilekey":
			m[k] = v
		default:
			return nil, &UnsupportedError{What: fmt.Sprintf("frontend option %q", k)}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(o.BuildArgs)) {
		// Whoever calls this makes the attestations; the frontend would pull a scanner for an SBOM.
		if strings.HasPrefix(k, "BUILDKIT_ATTEST_") {
			continue
		}
		m["build-arg:"+k] = o.BuildArgs[k]
	}
	for k, v := range o.Labels {
		m["label:"+k] = v
	}
	if o.SBOM != nil {
		var err error
		if m[optionSBOM], err = o.SBOM.option(); err != nil {
			return nil, err
		}
	}
	if err := o.addContexts(m); err != nil {
		return nil, err
	}
	if err := o.addRunOpts(m); err != nil {
		return nil, err
	}
	set := func(key, value string) {
		if value != "" {
			m[key] = value
		}
	}
	set("filename", o.Filename)
	set("target", o.Target)
	set("platform", o.platformList())
	set("image-resolve-mode", o.ImageResolveMode)
	set("requestid", o.Request)
	if o.MultiPlatform {
		m["multi-platform"] = "true"
	}
	switch {
	case o.NoCache:
		m["no-cache"] = "" // that it is there means all stages
	case len(o.NoCacheStages) > 0:
		m["no-cache"] = strings.Join(o.NoCacheStages, ",")
	}
	return m, nil
}

// platformList is never empty: without it, the frontend would name the result by the platform
// of this process, whatever BuildPlatform says.
func (o *Options) platformList() string {
	ps := o.Platforms
	if len(ps) == 0 {
		ps = []op.Platform{o.buildPlatform()}
	}
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = platforms.FormatAll(p.OCI())
	}
	return strings.Join(names, ",")
}

// addContexts adds the named contexts under their familiar names, by which the frontend looks
// them up: "alpine" for "docker.io/library/alpine:latest".
func (o *Options) addContexts(m map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(o.Contexts)) {
		base, platform, forPlatform := strings.Cut(name, "::")
		named, err := imageref.ParseNormalizedNamed(base)
		if err != nil {
			return fmt.Errorf("name of build context %q: %w", name, err)
		}
		key := "context:" + strings.TrimSuffix(imageref.FamiliarString(named), ":latest")
		if forPlatform {
			p, err := platforms.Parse(platform)
			if err != nil {
				return fmt.Errorf("platform of build context %q: %w", name, err)
			}
			key += "::" + platforms.FormatAll(platforms.Normalize(p))
		}
		if _, twice := m[key]; twice {
			return fmt.Errorf("build context %q is given twice", name)
		}
		m[key] = o.Contexts[name]
	}
	return nil
}

// addRunOpts adds what concerns RUN.
func (o *Options) addRunOpts(m map[string]string) error {
	var hosts, limits []string
	for _, h := range o.Hosts {
		hosts = append(hosts, h.Name+"="+h.IP)
	}
	for _, u := range o.Ulimits {
		limits = append(limits, fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	list := func(key string, fields []string) error {
		if len(fields) == 0 {
			return nil
		}
		var b strings.Builder
		w := csv.NewWriter(&b)
		if err := w.Write(fields); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		w.Flush()
		m[key] = strings.TrimSuffix(b.String(), "\n")
		return nil
	}
	if err := list("add-hosts", hosts); err != nil {
		return err
	}
	if err := list("ulimit", limits); err != nil {
		return err
	}
	text := func(key, value string) {
		if value != "" {
			m[key] = value
		}
	}
	number := func(key string, value int64) {
		if value != 0 {
			m[key] = strconv.FormatInt(value, 10)
		}
	}
	unsigned := func(key string, value uint64) {
		if value != 0 {
			m[key] = strconv.FormatUint(value, 10)
		}
	}
	text("force-network-mode", o.Network)
	text("hostname", o.Hostname)
	text("cgroup-parent", o.CgroupParent)
	number("shm-size", o.ShmSize)
	number("memory", o.Resources.Memory)
	number("memswap", o.Resources.MemorySwap)
	number("cpuquota", o.Resources.CPUQuota)
	unsigned("cpushares", o.Resources.CPUShares)
	unsigned("cpuperiod", o.Resources.CPUPeriod)
	text("cpusetcpus", o.Resources.CPUSetCPUs)
	text("cpusetmems", o.Resources.CPUSetMems)
	return nil
}
