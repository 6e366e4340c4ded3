package build

import (
	"reflect"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
)

func TestParseHosts(t *testing.T) {
	for value, want := range map[string]isolation.Host{
		"db:10.0.0.1":    {Name: "db", IP: "10.0.0.1"},
		"db=10.0.0.1":    {Name: "db", IP: "10.0.0.1"},
		"db:::1":         {Name: "db", IP: "::1"},
		"db=[fe80::1]":   {Name: "db", IP: "fe80::1"},
		"db:[fe80::1:2]": {Name: "db", IP: "fe80::1:2"},
	} {
		if got, err := parseHosts([]string{value}); err != nil || got[0] != want {
			t.Errorf("%q: %v, %v; want %v", value, got, err, want)
		}
	}
	for _, value := range []string{"", "db", "db:", ":10.0.0.1", "db:10.0.0", "db:host"} {
		if got, err := parseHosts([]string{value}); err == nil {
			t.Errorf("%q: %v, want an error", value, got)
		}
	}
}

func TestFrontendOptionsRefuseNonsense(t *testing.T) {
	for name, o := range map[string]Options{
		"network":           {Network: "bridge"},
		"shm size":          {ShmSize: "lots"},
		"negative shm size": {ShmSize: "-1"},
		"ulimit":            {Ulimits: []string{"nofile"}},
		"unknown ulimit":    {Ulimits: []string{"files=1"}},
		"platform":          {Platforms: []string{"linux/amd64/v1/v2"}},
		"host":              {AddHosts: []string{"x"}},
		"memory":            {Memory: "much"},
		"no memory":         {Memory: "0"},
		"swap":              {Memory: "1g", MemorySwap: "much"},
		"negative swap":     {Memory: "1g", MemorySwap: "-2"},
		"swap alone":        {MemorySwap: "1g"},
		"less than memory":  {Memory: "2g", MemorySwap: "1g"},
	} {
		if _, err := o.frontendOptions(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestFrontendOptions(t *testing.T) {
	o := Options{
		ShmSize: "128m", Ulimits: []string{"nofile=10:20"}, Platforms: []string{"linux/arm64"},
		Network: "none", BuildArgs: map[string]string{"A": "1"},
		Memory: "1g", MemorySwap: "-1", CPUShares: 2, CPUPeriod: 3, CPUQuota: 4, CPUSetCPUs: "0-1", CPUSetMems: "0",
	}
	f, err := o.frontendOptions()
	if err != nil {
		t.Fatal(err)
	}
	if f.ShmSize != 128<<20 || f.Network != "none" || f.BuildArgs["A"] != "1" {
		t.Errorf("got %+v", f)
	}
	if want := []isolation.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}}; !reflect.DeepEqual(f.Ulimits, want) {
		t.Errorf("ulimits %v, want %v", f.Ulimits, want)
	}
	if want := (isolation.Resources{
		Memory: 1 << 30, MemorySwap: -1, CPUShares: 2, CPUPeriod: 3, CPUQuota: 4, CPUSetCPUs: "0-1", CPUSetMems: "0",
	}); f.Resources != want {
		t.Errorf("resources %+v, want %+v", f.Resources, want)
	}
	if len(f.Platforms) != 1 || f.Platforms[0].String() != "linux/arm64" {
		t.Errorf("platforms %v", f.Platforms)
	}
}
