package frontend

import (
	"slices"

	"github.com/moby/buildkit/solver/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/slipway-build/slipway/pkg/op"
)

func fromOCI(p ocispecs.Platform) op.Platform {
	return op.Platform{
		OS: p.OS, Architecture: p.Architecture, Variant: p.Variant,
		OSVersion: p.OSVersion, OSFeatures: slices.Clone(p.OSFeatures),
	}
}

func fromPB(p *pb.Platform) op.Platform {
	return op.Platform{
		OS: p.GetOS(), Architecture: p.GetArchitecture(), Variant: p.GetVariant(),
		OSVersion: p.GetOSVersion(), OSFeatures: slices.Clone(p.GetOSFeatures()),
	}
}
