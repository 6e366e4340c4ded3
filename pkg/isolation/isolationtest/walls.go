package isolationtest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/slipway-build/slipway/pkg/isolation"
)

// wallCases are about what a process must not reach.
func wallCases() []testCase {
	builder := fmt.Sprint(os.Getpid())
	return []testCase{
		{name: "no descriptors of the builder", args: []string{"/bin/helper", "fds"}, outNot: []string{" "}, want: []string{}},
		{
			name:   "no environment of any other process",
			script: "for p in /proc/[0-9]*; do cat $p/environ; done 2>/dev/null | tr '\\0' '\\n' | grep -v ^PATH=/bin$ | grep -v -E '^(_|PWD|SHLVL|OLDPWD)=' || true",
			outNot: ownEnvironment(), want: []string{},
		},
		{
			name:   "no memory, files or root of the builder",
			script: "for f in mem environ root/etc/shadow fd/0 cwd/. maps; do if head -c 1 /proc/" + builder + "/$f; then echo reached $f; fi; done 2>/dev/null; for p in /proc/[0-9]*; do case $(readlink $p/exe) in *test) echo reached $p;; esac; done",
			outNot: []string{"reached"}, want: []string{},
		},
		{
			name:   "no memory of the first process",
			script: "if test \"$(readlink /proc/1/exe)\" = /bin/busybox; then exit; fi; for f in mem environ maps fd/3; do if head -c 1 /proc/1/$f; then echo reached $f; fi; done 2>/dev/null",
			outNot: []string{"reached"}, want: []string{},
		},
		{name: "the default capabilities and no more", args: []string{"helper", "bounding"}, want: []string{}, out: "00000000a80425fb\n"},
		{name: "no capabilities for a user", args: []string{"helper", "caps"}, edit: asApp, want: []string{}, out: "0000000000000000\n"},
		{
			name: "no mounting", script: "mount -t tmpfs none /tmp", code: 1, outNot: []string{"none on /tmp"},
		},
		{name: "no unmounting", script: "umount /etc/hosts", code: 1},
		{name: "no kernel parameters", script: "echo 1 >/proc/sys/kernel/sysrq", code: 1},
		{name: "no kernel log of the host by /proc/kcore", script: "test -s /proc/kcore", code: 1},
		{name: "no writing to /sys", script: "echo x >/sys/kernel/uevent_helper", code: 1},
		{
			name: "all capabilities if insecure", args: []string{"helper", "bounding"}, want: []string{},
			edit:   func(_ *testing.T, p *isolation.Process) { p.Insecure = true },
			outNot: []string{"00000000a80425fb"},
		},
		{
			name: "no network but the loopback interface", want: []string{},
			script: "grep : /proc/net/dev | cut -d: -f1 | tr -d ' '; ping -c 1 -W 2 127.0.0.1 >/dev/null && echo up",
			edit:   func(_ *testing.T, p *isolation.Process) { p.Network = isolation.NetworkNone },
			out:    "lo\nup\n",
		},
		{
			name: "the network of the pod", want: []string{}, script: "grep : /proc/net/dev | cut -d: -f1 | tr -d ' '",
			outHas: hostInterfaces(),
		},
		{
			name: "the network of the host, which is the pod's", want: []string{}, script: "grep : /proc/net/dev | cut -d: -f1 | tr -d ' '",
			edit:   func(_ *testing.T, p *isolation.Process) { p.Network = isolation.NetworkHost },
			outHas: hostInterfaces(),
		},
	}
}

// ownEnvironment is what the environment of this process, as it was started, has that is long
// enough to be told from chance.
func ownEnvironment() []string {
	data, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return nil
	}
	var vars []string
	for kv := range strings.SplitSeq(string(data), "\x00") {
		if len(kv) > 12 {
			vars = append(vars, kv)
		}
	}
	return vars
}

func hostInterfaces() []string {
	data, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		return nil
	}
	var names []string
	for line := range strings.Lines(string(data)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}
