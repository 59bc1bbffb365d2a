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

// roundTrip sends a request and waits for the response, which may be 101. The
// caller calls settle when it is done with the response; after an error there
// is nothing left to do.
func (c *serverConn) roundTrip(r *http.Request) (*http.Response, error) {
	c.begin(r)
	var res *http.Response
	err := c.send(r)
	if err == nil || c.unsent { // a server that takes no more may have said why
		res, err = c.await(r)
	}
	if err == nil {
		return res, nil
	}
	c.settle(false)
	gone := r.Context().Err()
	if c.body != nil {
		err = c.body.why(err, gone != nil)
	}
	return nil, errors.Join(gone, err)
}

func (c *serverConn) begin(r *http.Request) {
	c.headerLeft, c.heard, c.failed, c.unsent = maxResponseHeader, false, nil, false
	c.answered, c.body, c.grace = false, nil, nil
	c.halves.Store(1)
	c.leave = context.AfterFunc(r.Context(), c.abort)
}

// send writes the request, or has its body written.
func (c *serverConn) send(r *http.Request) error {
	b, ok := r.Body.(*body)
	if !ok {
		c.awaitResponse()
		return c.write(r)
	}
	c.mu.Lock()
	c.setRead(time.Time{}) // the client may take its time
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
		c.abort() // the server would wait for the rest
	}
	c.half(err == nil)
}

// await reads the response, and passes on those that only announce it.
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
			return nil, fmt.Errorf("the server answers with status %d", status)
		case status >= 200 || status == http.StatusSwitchingProtocols:
			c.begun(res)
			return res, nil
		case status == http.StatusContinue && c.body != nil:
			c.body.agree()
			c.body.asked = true
		}
		if c.body.waits() {
			continue // net/http may be writing a 100 Continue of its own
		}
		if trace := httptrace.ContextClientTrace(r.Context()); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
				return nil, err
			}
		}
	}
}

// begun notes that a response has begun, the rest of which has all the time
// that it needs.
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

// settle ends the response's half of an exchange; see half. A response that
// was not read to its end takes the connection with it.
func (c *serverConn) settle(ok bool) {
	switch {
	case !ok:
		c.abort()
		if c.body != nil {
			c.body.stop() // whoever tries again has it alone
		}
	case c.halves.Load() > 1:
		c.grace = time.AfterFunc(sendingLeft, c.abort)
	}
	c.half(ok)
}

// sendingLeft is how long a body may go on when the response has ended: a
// server answers when it has all of it, so it mostly has been sent just now.
const sendingLeft = time.Second

// half ends one half of an exchange, the request's or the response's. If it is
// the last, and both went well, the connection is free for the next request.
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

// wasStale reports whether a request failed because the server had closed the
// connection meanwhile, as it may when it is idle. Such a request may be sent
// again.
func (c *serverConn) wasStale(r *http.Request, err error) bool {
	return !c.heard && c.body == nil && idempotent(r.Method) && r.Context().Err() == nil && !timedOut(err)
}
