package op

import (
	"github.com/slipway-build/slipway/pkg/isolation"
)

// Exec is RUN.
type Exec struct {
	Args, Env []string
	Cwd, User string
	Hostname  string
	// ProxyEnv reaches the process but neither the key nor the image.
	ProxyEnv     []string
	Hosts        []isolation.Host
	Ulimits      []isolation.Ulimit
	Network      isolation.Network
	Insecure     bool
	Devices      []string // CDI names; "?" in front marks an optional one
	SecretEnv    []SecretEnv
	Mounts       []ExecMount
	CgroupParent string
	Resources    *isolation.Resources
	Platform     Platform
}

// SecretEnv passes a secret as an environment variable.
type SecretEnv struct {
	ID, Name string
	Optional bool
}

// ExecMount is one mount of an [Exec]; the one at "/" is the root.
type ExecMount struct {
	Type     isolation.MountType
	Input    int // index of the vertex's input, -1 for none
	Output   int // index of the output, -1 to discard the changes
	Selector string
	Dest     string
	ReadOnly bool

	CacheID string
	Sharing CacheSharing

	TmpfsSize int64

	SecretID string // also the id of an ssh agent
	Optional bool
	UID, GID uint32
	Mode     uint32
}

// CacheSharing says what happens when two RUNs use one cache mount at the same time.
type CacheSharing uint8

// The values of --mount=type=cache,sharing=.
const (
	CacheShared CacheSharing = iota
	CachePrivate
	CacheLocked
)
