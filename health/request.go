package health

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
)

// maxBody bounds how much of a response body is read, in bytes. Mattermost's
// has 300.
const maxBody = 64 << 10

// A Request is what an HTTP probe sends and what it expects. The zero value is
// GET / and accepts any status from 200 to 299.
type Request struct {
	Method string // "" is GET
	Path   string // with the query; "" is "/"
	Host   string // "" is the check's ServerName
	Status []StatusRange
	Match  func(body []byte) error // nil: any body
}

// A StatusRange is the status codes from Low to High.
type StatusRange struct{ Low, High int }

// userAgent identifies probes in the server's log.
const userAgent = "culvert-health"

// run sends the request over conn, whose deadline the caller has set, and
// checks the response. Redirects are not followed.
func (q *Request) run(conn net.Conn, host string) error {
	req, err := http.NewRequest(q.Method, "http://"+host+or(q.Path, "/"), nil)
	if err != nil {
		return err
	}
	req.Host = or(q.Host, host)
	req.Header.Set("User-Agent", userAgent)
	req.Close = true
	if err := req.Write(conn); err != nil {
		return fmt.Errorf("send the request: %w", err)
	}
	limited := io.LimitReader(conn, maxBody+http.DefaultMaxHeaderBytes)
	res, err := http.ReadResponse(bufio.NewReader(limited), req)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	defer res.Body.Close()
	if !q.expects(res.StatusCode) {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	if q.Match == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read the body: %w", err)
	}
	return q.Match(body)
}

func (q *Request) expects(status int) bool {
	for _, r := range q.Status {
		if r.Low <= status && status <= r.High {
			return true
		}
	}
	return len(q.Status) == 0 && status/100 == 2
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Contains returns a Match for bodies that contain text.
func Contains(text string) func([]byte) error {
	return func(body []byte) error {
		if !bytes.Contains(body, []byte(text)) {
			return fmt.Errorf("the body has no %q", text)
		}
		return nil
	}
}

// Matches returns a Match for bodies that re matches anywhere.
func Matches(re *regexp.Regexp) func([]byte) error {
	return func(body []byte) error {
		if !re.Match(body) {
			return fmt.Errorf("the body does not match %q", re)
		}
		return nil
	}
}

// Mattermost returns the request that checks a Mattermost server: its ping. The
// body decides, because the status may be 200 while the server is unhealthy.
// With deep the server also tries its database and its file store, which costs
// it a write to each.
func Mattermost(deep bool) *Request {
	if deep {
		return &Request{Path: pingPath + "?get_server_status=true", Match: allOK("status", "database_status", "filestore_status")}
	}
	return &Request{Path: pingPath, Match: allOK("status")}
}

const pingPath = "/api/v4/system/ping"

// allOK returns a Match for a JSON object in which each key has the value "OK".
func allOK(keys ...string) func([]byte) error {
	return func(body []byte) error {
		var answer map[string]any
		if err := json.Unmarshal(body, &answer); err != nil {
			return fmt.Errorf("the body is not a JSON object: %w", err)
		}
		for _, k := range keys {
			if v, ok := answer[k]; !ok || v != "OK" {
				return fmt.Errorf("%s is %q, not OK", k, fmt.Sprint(v))
			}
		}
		return nil
	}
}
