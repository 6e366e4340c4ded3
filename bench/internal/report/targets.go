package report

// Target is what slipway may take at most, as a part of what the peer takes.
type Target struct{ Kaniko, BuildKit, Buildah float64 }

// TargetOf is that of a workload.
func TargetOf(workload string) Target {
	switch workload {
	case "many-steps", "many-files", "big-copy", "go-app":
		return Target{0.5, 0.8, 0.6}
	case "copy-only", "cached":
		return Target{0.1, 0.6, 0.3}
	}
	return Target{0.7, 0.9, 0.7}
}

// of is the target for a peer.
func (t Target) of(peer string) float64 {
	switch peer {
	case "kaniko":
		return t.Kaniko
	case "buildkit":
		return t.BuildKit
	}
	return t.Buildah
}

// MaxMemory is what slipway may have in memory, without what RUN runs, in bytes.
const MaxMemory = 200_000_000
