package sign

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"

	"github.com/go-openapi/runtime"
	openapi "github.com/go-openapi/runtime/client"
	"github.com/go-openapi/strfmt"
	"github.com/sigstore/rekor/pkg/generated/client"
	"github.com/sigstore/rekor/pkg/generated/client/entries"
	"github.com/sigstore/sigstore-go/pkg/sign"

	"github.com/slipway-build/slipway/pkg/registry"
)

// rekor is a transparency log. An entry that it has already is as good as a new one: it is there if the answer to a request got lost, and
// if a key that always makes the same signature signs something again.
type rekor struct {
	entries entries.ClientService
}

var _ sign.RekorClient = (*rekor)(nil)

func newRekor(ctx context.Context, c *registry.Client, address string) *rekor {
	u, err := url.Parse(address)
	if err != nil { // it has been checked, or came from a configuration
		u = &url.URL{}
	}
	if u.Path == "" {
		u.Path = client.DefaultBasePath
	}
	transport := newService(ctx, c, "Rekor", address)
	transport.accept, transport.mediaType = http.StatusConflict, jsonType
	way := openapi.NewWithClient(u.Host, u.Path, []string{u.Scheme}, transport.httpClient())
	way.Consumers = map[string]runtime.Consumer{jsonType: runtime.JSONConsumer()}
	way.Producers = map[string]runtime.Producer{jsonType: runtime.JSONProducer()}
	way.SetDebug(false) // whatever $DEBUG says
	return &rekor{entries.New(way, strfmt.NewFormats())}
}

// CreateLogEntry implements sign.RekorClient.
func (r *rekor) CreateLogEntry(params *entries.CreateLogEntryParams, opts ...entries.ClientOption) (*entries.CreateLogEntryCreated, error) {
	created, err := r.entries.CreateLogEntry(params, opts...)
	var known *entries.CreateLogEntryConflict
	if !errors.As(err, &known) {
		return created, err
	}
	id := path.Base(known.Location.String())
	found, err := r.entries.GetLogEntryByUUID(entries.NewGetLogEntryByUUIDParamsWithContext(params.Context).WithTimeout(serviceTimeout).WithEntryUUID(id))
	if err != nil {
		return nil, err
	}
	for id := range found.Payload {
		return &entries.CreateLogEntryCreated{ETag: id, Location: known.Location, Payload: found.Payload}, nil
	}
	return nil, fmt.Errorf("the transparency log says that it has entry %s, and gives none", id)
}
