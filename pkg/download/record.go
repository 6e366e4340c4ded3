package download

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"

	"github.com/slipway-build/slipway/pkg/layer"
	"github.com/slipway-build/slipway/pkg/op"
)

// kindRecords are the objects of the state directory that say what a server answered, named by
// op.HTTP.ID.
const kindRecords = "download-records"

// record is what is remembered of an answer.
type record struct {
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"lastModified,omitempty"`
	Disposition  string `json:"contentDisposition,omitempty"`
	Sum          string `json:"sha256"`
	Size         int64  `json:"size"`

	sum layer.Sum
}

func newRecord(resp *http.Response) *record {
	return &record{
		ETag:         resp.Header.Get("ETag"),
		LastModified: resp.Header.Get("Last-Modified"),
		Disposition:  resp.Header.Get("Content-Disposition"),
	}
}

// remember stores the record. It replaces an older one.
func (c *Client) remember(h *op.HTTP, r *record) (err error) {
	r.Sum = hex.EncodeToString(r.sum[:])
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := c.opts.State.TempFile()
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = c.opts.State.Publish(kindRecords, h.ID(), f)
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		err = errors.Join(err, ignoreAbsence(os.Remove(f.Name())))
	}
	return err
}

// recall returns the record of the last answer if the content is there too, else nil. Whatever
// is wrong with either only means that the file is fetched again.
func (c *Client) recall(h *op.HTTP) *record {
	f, err := c.opts.State.Lookup(kindRecords, h.ID())
	if err != nil {
		return nil
	}
	defer f.Close()
	const limit = 64 << 10
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil
	}
	var r record
	if json.Unmarshal(data, &r) != nil {
		return nil
	}
	sum, err := hex.DecodeString(r.Sum)
	if err != nil || len(sum) != len(r.sum) {
		return nil
	}
	copy(r.sum[:], sum)
	content, err := c.opts.State.Lookup(kindFiles, r.Sum)
	if err != nil {
		return nil
	}
	defer content.Close()
	if info, err := content.Stat(); err != nil || info.Size() != r.Size {
		return nil
	}
	return &r
}
