package build

import (
	"context"
	"errors"
	"io/fs"

	"github.com/slipway-build/slipway/pkg/isolation"
	"github.com/slipway-build/slipway/pkg/op"
	"github.com/slipway-build/slipway/pkg/policy"
	"github.com/slipway-build/slipway/pkg/progress"
	"github.com/slipway-build/slipway/pkg/registry"
	"github.com/slipway-build/slipway/pkg/sign"
	"github.com/slipway-build/slipway/results"
)

// Reason is a word for the kind of a failure, for programs: the result ERROR_REASON. docs/results.md
// lists the words with what they mean.
func Reason(ctx context.Context, err error) string {
	var (
		usage       *UsageError
		process     *isolation.ExitError
		unsupported *isolation.UnsupportedError
		remote      *registry.Error
		put         *results.PutError
		source      *op.SourceError
		denied      *policy.DeniedError
		service     *sign.ServiceError
		located     *op.LocatedError
	)
	switch {
	case ctx.Err() != nil:
		return "Interrupted"
	case errors.As(err, &usage):
		return "UsageError"
	case errors.As(err, &denied):
		return "PolicyDenied"
	case errors.As(err, &process) && process.OOM:
		return "OutOfMemory"
	case errors.As(err, &process):
		return "RunFailed"
	case errors.As(err, &unsupported):
		return "IsolationUnavailable"
	case errors.As(err, &service) && service.Temporary():
		return "SigningUnavailable"
	case errors.As(err, &service):
		return "SigningRefused"
	case errors.As(err, &remote) && remote.Temporary(), errors.As(err, &put) && put.Temporary():
		return "RegistryUnavailable"
	case errors.As(err, &remote), errors.As(err, &put):
		return "RegistryRefused"
	case errors.As(err, &source) && source.Temporary():
		return "SourceUnavailable"
	case errors.Is(err, fs.ErrPermission):
		return "PermissionDenied"
	case errors.As(err, &located):
		return "DockerfileError"
	}
	return "BuildFailed"
}

// WriteFailure writes the results ERROR_REASON and ERROR_MESSAGE to wherever results are asked for: dir
// and named, as Options.ResultsDir and Options.Results. Secrets in the message are masked. It returns
// cause, together with what kept the results from being written.
func WriteFailure(ctx context.Context, dir string, named []string, secrets [][]byte, cause error) error {
	files := results.Files{Dir: dir}
	for _, n := range named {
		// What cannot be parsed is part of why the build failed.
		if r, err := results.ParseNamed(n); err == nil {
			files.Named = append(files.Named, r)
		}
	}
	err := files.WriteFailure(Reason(ctx, cause), progress.Mask(cause.Error(), secrets))
	return errors.Join(cause, err)
}
