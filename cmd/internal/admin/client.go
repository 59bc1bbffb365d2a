package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Refusal is the error message with which a running culvert refused a request.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Client sends requests to a running culvert over its control socket. It is
// safe for concurrent use.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client of the socket at path. It connects with the first
// request.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
	}
	return &Client{path, &http.Client{Timeout: controlTimeout, Transport: &http.Transport{DialContext: dial}}}
}

// Report returns the state of the process.
func (c *Client) Report() (r Report, err error) { return r, c.get(pathStatus, &r) }

// Connections returns the newest connections that match, at most limit.
func (c *Client) Connections(f Filter, limit int) (l ConnectionList, err error) {
	return l, c.get(pathConnections+"?"+f.query(limit).Encode(), &l)
}

// Close closes the connections that match.
func (c *Client) Close(r CloseRequest) (Done, error) { return c.post(pathClose, r) }

// Drain takes a server out of service.
func (c *Client) Drain(r DrainRequest) (Done, error) { return c.post(pathDrain, r) }

// Undrain puts a server back into service.
func (c *Client) Undrain(server string) (Done, error) {
	return c.post(pathUndrain, DrainRequest{Server: server})
}

// Reload makes the process read its configuration again.
func (c *Client) Reload() (Done, error) { return c.post(pathReload, struct{}{}) }

// Upgrade makes the process hand over to a new one.
func (c *Client) Upgrade() (Done, error) { return c.post(pathUpgrade, struct{}{}) }

func (c *Client) get(path string, v any) error {
	r, err := c.http.Get("http://culvert" + path)
	if err != nil {
		return c.explain(err)
	}
	return read(r, v)
}

func (c *Client) post(path string, body any) (d Done, err error) {
	b, err := json.Marshal(body)
	if err != nil {
		return d, err
	}
	r, err := c.http.Post("http://culvert"+path, "application/json", bytes.NewReader(b))
	if err != nil {
		return d, c.explain(err)
	}
	return d, read(r, &d)
}

func read(r *http.Response, v any) error {
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		var f Failure
		if json.Unmarshal(b, &f) != nil || f.Error == "" {
			return fmt.Errorf("%s: %s", r.Status, bytes.TrimSpace(b))
		}
		return Refusal(f.Error)
	}
	return json.Unmarshal(b, v)
}

// explain adds advice to an error of connecting.
func (c *Client) explain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("no culvert process answers on %s (%w): is it running, is this the socket of its file (--socket), and may this user open it?", c.path, op.Err)
	}
	return err
}
