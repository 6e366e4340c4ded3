package download

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/slipway-build/slipway/pkg/op"
)

// Beginnings of the names of secrets that hold credentials; the host's name follows.
const (
	headerSecret = "HTTP_AUTH_HEADER_"
	tokenSecret  = "HTTP_AUTH_TOKEN_"
)

func (c *Client) newRequest(ctx context.Context, h *op.HTTP, u *url.URL) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL, nil)
	if err != nil {
		return nil, err
	}
	if c.opts.UserAgent != "" {
		req.Header.Set("User-Agent", c.opts.UserAgent)
	}
	for name, value := range h.Header {
		req.Header.Set(name, value)
	}
	authorization, err := c.authorization(ctx, h, u.Hostname())
	if err != nil {
		return nil, err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return req, nil
}

// authorization is the value of the Authorization header that the secrets give for a host, "" for
// none. Of the two kinds the token counts, as in BuildKit.
func (c *Client) authorization(ctx context.Context, h *op.HTTP, host string) (string, error) {
	if id := h.AuthHeaderSecret; id != "" {
		value, err := c.opts.Secrets.Secret(ctx, id)
		if err != nil {
			return "", fmt.Errorf("credentials: %w", err)
		}
		return string(value), nil
	}
	for _, s := range []struct{ id, prefix string }{{tokenSecret + host, "Bearer "}, {headerSecret + host, ""}} {
		value, err := c.opts.Secrets.Secret(ctx, s.id)
		if err == nil {
			return s.prefix + string(value), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("credentials: %w", err)
		}
	}
	return "", nil
}
