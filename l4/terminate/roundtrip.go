package terminate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"
)

// roundTrip sends a request and waits for the response, whose status may be 101.
// After success the caller must call settle when it no longer uses the response;
// after an error roundTrip has called it.
func (c *serverConn) roundTrip(r *http.Request) (*http.Response, error) {
	c.begin(r)
	var res *http.Response
	err := c.send(r)
	if err == nil || c.unsent { // a server that rejects the body may have sent the reason
		res, err = c.await(r)
	}
	if err == nil {
		return res, nil
	}
	c.settle(false)
	gone := r.Context().Err()
	if c.body != nil {
		err = c.body.cause(err, gone != nil)
	}
	return nil, errors.Join(gone, err)
}

func (c *serverConn) begin(r *http.Request) {
	c.headerLeft, c.heard, c.failed, c.unsent = maxResponseHeader, false, nil, false
	c.answered, c.body, c.grace = false, nil, nil
	c.halves.Store(1)
	c.leave = context.AfterFunc(r.Context(), c.abort)
}

// send writes the request. If it has a body, send starts a goroutine for that.
func (c *serverConn) send(r *http.Request) error {
	b, ok := r.Body.(*body)
	if !ok {
		c.awaitResponse()
		return c.write(r)
	}
	c.mu.Lock()
	c.setRead(time.Time{}) // no response deadline while the client sends its body
	c.mu.Unlock()
	c.body = newSending(b, expects(r))
	out := *r
	out.Body = c.body
	c.halves.Store(2)
	go c.sendBody(&out, c.body)
	return nil
}

func (c *serverConn) write(r *http.Request) error {
	if err := r.Write(c.writer); err != nil {
		return err
	}
	return c.writer.Flush()
}

func (c *serverConn) sendBody(r *http.Request, b *sending) {
	defer close(b.sent)
	err := c.write(r)
	c.awaitResponse()
	if err != nil && !c.unsent && b.wanting() {
		c.abort() // otherwise the server would wait for the rest of the body
	}
	c.half(err == nil)
}

// await reads the final response, and passes informational ones to the client.
func (c *serverConn) await(r *http.Request) (*http.Response, error) {
	for {
		res, err := http.ReadResponse(c.reader, r)
		if err != nil {
			if timedOut(c.failed) {
				err = c.failed
			}
			return nil, err
		}
		switch status := res.StatusCode; {
		case status < 100:
			return nil, fmt.Errorf("unexpected status %d from the server", status)
		case status >= 200 || status == http.StatusSwitchingProtocols:
			c.begun(res)
			return res, nil
		case status == http.StatusContinue && c.body != nil:
			c.body.agree()
			c.body.asked = true
		}
		if c.body.waits() {
			continue // net/http may be writing its own 100 Continue to the client
		}
		if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
	}
}

// begun is called when the headers of the final response have been read. The
// body has no limit on its size or time.
func (c *serverConn) begun(res *http.Response) {
	c.headerLeft = math.MaxInt64
	if res.Close {
		c.unfit.Store(true)
	}
	if c.body != nil {
		c.body.decline()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered = true
	if res.ContentLength < 0 || res.ContentLength > int64(c.reader.Buffered()) {
		c.setRead(time.Time{})
	}
}

// settle ends the response's half of an exchange; see half. ok is false if the
// response was not read to its end; the connection is then closed.
func (c *serverConn) settle(ok bool) {
	switch {
	case !ok:
		c.abort()
		if c.body != nil {
			c.body.stop() // so that only the next attempt reads the body
		}
	case c.halves.Load() > 1:
		c.outliveRequest()
		c.grace = time.AfterFunc(bodyGrace, c.abort)
	}
	c.half(ok)
}

// outliveRequest keeps the end of the client's request, which net/http cancels
// once it is answered, from closing the connection while the last bytes of the
// body are on their way. They have bodyGrace instead.
func (c *serverConn) outliveRequest() {
	if !c.leave() {
		c.unfit.Store(true) // it was aborted, or is about to be
	}
	c.leave = func() bool { return true }
}

// bodyGrace is how long a body may still be sent after the response has ended.
// Servers mostly answer once they have all of it, so little is left by then.
const bodyGrace = time.Second

// half ends one half of an exchange, the request or the response. After the
// second half, if both succeeded, the connection is free for another request.
func (c *serverConn) half(ok bool) {
	if !ok {
		c.unfit.Store(true)
	}
	if c.halves.Add(-1) > 0 {
		return
	}
	aborted := !c.leave()
	if c.grace != nil {
		aborted = !c.grace.Stop() || aborted
	}
	if aborted || c.unfit.Load() || c.reader.Buffered() > 0 {
		c.abort()
		return
	}
	c.free()
}

// wasStale reports whether a request failed because the server closed the
// connection while it was idle. Such a request may be sent again.
func (c *serverConn) wasStale(r *http.Request, err error) bool {
	return !c.heard && c.body == nil && idempotent(r.Method) && r.Context().Err() == nil && !timedOut(err)
}
