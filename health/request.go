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

// mostBody is how much of an answer is looked at. Mattermost's has 300 bytes.
const mostBody = 64 << 10

// A Request is what an HTTP probe asks and what it expects.
type Request struct {
	Method string // "" is GET
	Path   string // with the query; "" is "/"
	Host   string // "" is the check's ServerName
	Status []StatusRange
	Match  func(body []byte) error // nil: any body
}

// A StatusRange is the status codes from Low to High.
type StatusRange struct{ Low, High int }

// userAgent tells the server's log who asks.
const userAgent = "culvert-health"

// run asks on conn, which has its deadline, and judges the answer. Redirects
// are answers like any other.
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
	limited := io.LimitReader(conn, mostBody+http.DefaultMaxHeaderBytes)
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
	body, err := io.ReadAll(io.LimitReader(res.Body, mostBody))
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

// Contains matches bodies with text in them.
func Contains(text string) func([]byte) error {
	return func(body []byte) error {
		if !bytes.Contains(body, []byte(text)) {
			return fmt.Errorf("the body has no %q", text)
		}
		return nil
	}
}

// Matches matches bodies in which re finds something.
func Matches(re *regexp.Regexp) func([]byte) error {
	return func(body []byte) error {
		if !re.Match(body) {
			return fmt.Errorf("the body does not match %q", re)
		}
		return nil
	}
}

// Mattermost returns what is asked of a Mattermost server: its ping, whose
// body has to be read, since the status alone may be 200 all the same. deep
// also has it try its database and its file store, which costs it a write to
// each.
func Mattermost(deep bool) *Request {
	if deep {
		return &Request{Path: pingPath + "?get_server_status=true", Match: allOK("status", "database_status", "filestore_status")}
	}
	return &Request{Path: pingPath, Match: allOK("status")}
}

const pingPath = "/api/v4/system/ping"

// allOK matches a JSON object in which each key has the value "OK".
func allOK(keys ...string) func([]byte) error {
	return func(body []byte) error {
		var answer map[string]any
		if err := json.Unmarshal(body, &answer); err != nil {
			return fmt.Errorf("the body is no JSON object: %w", err)
		}
		for _, k := range keys {
			if v, ok := answer[k]; !ok || v != "OK" {
				return fmt.Errorf("%s is %q, not OK", k, fmt.Sprint(v))
			}
		}
		return nil
	}
}
