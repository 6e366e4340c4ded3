// Package kaniko knows the part of Kaniko's command line and environment that means nothing here: flags
// that steer how Kaniko finds out what a RUN changed, or that clean up after a build in its own root. They
// are accepted, so that a manifest works as it is, and each is answered by one line that says why it is
// not needed. What means something is a flag of Slipway's own.
package kaniko

import (
	"fmt"
	"slices"
	"strings"
)

// Accepted is a flag, or an environment variable, that changes nothing.
type Accepted struct {
	// Name is the flag without dashes, or the variable. It may end in "*", then it stands for all
	// that begin so.
	Name string
	// Aliases are further names of the flag.
	Aliases []string
	// Takes is the kind of value that a flag takes.
	Takes Kind
	// Why says why it is not needed, as the end of a sentence: "NAME has no effect: WHY".
	Why string
}

// Kind is the kind of value that a flag takes.
type Kind uint8

// The kinds of values.
const (
	Bool Kind = iota // none, or true or false
	Text
)

// Reasons that several of them share.
const (
	ownRoot    = "a build never touches the filesystem of its own pod for longer than a RUN takes"
	ownChanges = "what a RUN changed is known exactly, from the kernel or by comparing, whatever the mode"
	inMemory   = "layers are never held in memory, compressed or not"
	always     = "it is always so"
	retries    = "every request that fails for a passing reason is repeated where it broke off"
)

// Flags are those of Kaniko's executor.
func Flags() []Accepted {
	return []Accepted{
		{Name: "compressed-caching", Why: inMemory},
		{Name: "force", Why: "a build is safe outside of containers, too"},
		{Name: "force-build-metadata", Why: "the layers are always those that docker build makes"},
		{Name: "ignore-var-run", Aliases: []string{"whitelist-var-run"}, Why: "what an image has in /var/run is always kept"},
		{Name: "image-fs-extract-retry", Takes: Text, Why: retries},
		{Name: "kaniko-dir", Takes: Text, Why: "files of the build are in --state-dir"},
		{Name: "log-timestamp", Why: "the display has the times of all steps"},
		{Name: "materialize", Why: ownRoot + "; --output type=local gives the files"},
		{Name: "pre-cleanup", Why: ownRoot},
		{Name: "preserve-context", Why: ownRoot},
		{Name: "skip-unused-stages", Why: always},
		{Name: "snapshot-mode", Aliases: []string{"snapshotMode"}, Takes: Text, Why: ownChanges},
		{Name: "use-new-run", Why: ownChanges},
		{Name: "verbosity", Aliases: []string{"v"}, Takes: Text, Why: "--progress chooses the display"},
	}
}

// WarmerFlags are those of Kaniko's warmer.
func WarmerFlags() []Accepted {
	const oneLine = "there is one line for each image"
	return []Accepted{
		{Name: "log-format", Takes: Text, Why: oneLine},
		{Name: "log-timestamp", Why: oneLine},
		{Name: "verbosity", Aliases: []string{"v"}, Takes: Text, Why: oneLine},
	}
}

// Variables are those of Kaniko's environment.
func Variables() []Accepted {
	return []Accepted{
		{Name: "AWS_ECR_*", Why: "logins for ECR are held in memory, and nowhere else"},
		{Name: "BENCHMARK_FILE", Why: "the display has the times of all steps"},
		{Name: "DOCKER_CREDENTIAL_GCR_CONFIG", Why: "the identity is that of Google's own clients"},
		{Name: "FF_KANIKO_*", Why: "builds are as docker build's without switches"},
		{Name: "KANIKO_DIR", Why: "files of the build are in --state-dir"},
		{Name: "KANIKO_IGNORE_ASSERTIONS", Why: "there are none"},
		{Name: "KANIKO_PRE_CLEANUP", Why: ownRoot},
		{Name: "KANIKO_PRESERVE_CONTEXT", Why: ownRoot},
		{Name: "SNAPSHOT_TIMEOUT_DURATION", Why: "no snapshots are taken"},
		{Name: "STACKLOG_PATH", Why: "it is a tool for Kaniko's own developers"},
	}
}

// has reports whether name is one that a stands for.
func (a Accepted) has(name string) bool {
	if prefix, ok := strings.CutSuffix(a.Name, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return a.Name == name || slices.Contains(a.Aliases, name)
}

// FlagNotices says of each flag that isSet reports as given why it is not needed.
func FlagNotices(flags []Accepted, isSet func(name string) bool) []string {
	var notices []string
	for _, f := range flags {
		if isSet(f.Name) {
			notices = append(notices, fmt.Sprintf("--%s has no effect: %s", f.Name, f.Why))
		}
	}
	return notices
}

// VariableNotices does the same for an environment, given as NAME=VALUE. Several variables that one entry stands
// for give one notice.
func VariableNotices(environ []string) []string {
	var notices []string
	for _, v := range Variables() {
		var set []string
		for _, e := range environ {
			if name, value, _ := strings.Cut(e, "="); value != "" && v.has(name) {
				set = append(set, name)
			}
		}
		if len(set) > 0 {
			slices.Sort(set)
			notices = append(notices, fmt.Sprintf("%s: no effect: %s", strings.Join(set, ", "), v.Why))
		}
	}
	return notices
}
