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

// Refusal is what a running culvert answers when it does not do what it is
// asked for.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Client asks a running culvert, over its control socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a client of the socket at path, which it connects to when
// it is first used.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
	}
	return &Client{path, &http.Client{Timeout: controlTimeout, Transport: &http.Transport{DialContext: dial}}}
}

// Report asks how everything is.
func (c *Client) Report() (r Report, err error) { return r, c.get(pathStatus, &r) }

// Connections lists the newest connections that match, at most limit.
func (c *Client) Connections(f Filter, limit int) (l ConnectionList, err error) {
	return l, c.get(pathConnections+"?"+f.query(limit).Encode(), &l)
}

// Close closes connections.
func (c *Client) Close(r CloseRequest) (Done, error) { return c.post(pathClose, r) }

// Drain takes a server out of service.
func (c *Client) Drain(r DrainRequest) (Done, error) { return c.post(pathDrain, r) }

// Undrain puts a server back into service.
func (c *Client) Undrain(server string) (Done, error) {
	return c.post(pathUndrain, DrainRequest{Server: server})
}

// Reload has the file read again.
func (c *Client) Reload() (Done, error) { return c.post(pathReload, struct{}{}) }

// Upgrade has the program started anew.
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

// explain says what to do when nobody answers.
func (c *Client) explain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("no culvert answers on %s (%w): is it running, is this the socket of its file (--socket), and may this user open it?", c.path, op.Err)
	}
	return err
}
