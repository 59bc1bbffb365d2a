package terminate

import (
	"bufio"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// serveWebSocket asks a server for the WebSocket and joins the two when it
// agrees; any other response is passed on. net/http's proxy could do it, but
// keeps two buffers of 32 KiB for every one that is open.
func (s *Server) serveWebSocket(x *exchange, r *http.Request, leaf *x509.Certificate) {
	u := s.upstream.Load()
	if u == nil {
		s.failed(x, errNoServer)
		return
	}
	var open *opening
	err := u.route(x, clientOf(r), func(a *attempt) (bool, error) {
		o, err := s.ask(r, leaf, a)
		if err != nil && r.Context().Err() == nil && mayRepeat(r.Method, nil, err) {
			return false, err
		}
		if err != nil {
			a.server.Release()
		}
		open = o
		return true, err
	})
	if err != nil {
		s.failed(x, err)
		return
	}
	connOf(r.Context()).Served(open.attempt.server.Name())
	if open.response.StatusCode != http.StatusSwitchingProtocols {
		s.passOn(x, open)
		return
	}
	s.join(x, open)
}

// opening is a server that has answered the handshake of a WebSocket.
type opening struct {
	attempt  *attempt
	conn     *serverConn
	response *http.Response
}

func (o *opening) close() {
	o.conn.settle(false)
	o.attempt.server.Release()
}

// ask sends the handshake to a server. It changes nothing there, so that
// another one may be asked.
func (s *Server) ask(r *http.Request, leaf *x509.Certificate, a *attempt) (*opening, error) {
	conn, err := s.carrier.dial(r.Context(), a)
	if err != nil {
		return nil, err
	}
	res, err := conn.roundTrip(s.handshakeRequest(r, leaf))
	if err != nil {
		return nil, err
	}
	return &opening{attempt: a, conn: conn, response: res}, nil
}

// handshakeRequest is r as the server gets it.
func (s *Server) handshakeRequest(r *http.Request, leaf *x509.Certificate) *http.Request {
	h := r.Header.Clone()
	s.setHeaders(h, r, leaf)
	h.Set("Connection", "Upgrade")
	h.Set("Upgrade", "websocket")
	u := target(r)
	u.Scheme, u.Host = "http", r.Host
	out := &http.Request{Method: http.MethodGet, URL: u, Host: r.Host, Header: h, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	return out.WithContext(r.Context())
}

// passOn gives the client a response that is no agreement.
func (s *Server) passOn(x *exchange, o *opening) {
	defer o.close()
	deleteListed(o.response.Header)
	_ = s.modify(o.response)
	h := x.Header()
	for name, values := range o.response.Header {
		h[name] = values
	}
	for _, name := range []string{"Connection", "Upgrade", "Keep-Alive", "Transfer-Encoding", "Trailer"} {
		h.Del(name)
	}
	x.WriteHeader(o.response.StatusCode)
	_ = o.conn.SetDeadline(time.Now().Add(s.limits.BodyTimeout))
	if _, err := io.Copy(x, o.response.Body); err != nil {
		panic(http.ErrAbortHandler) // or the client would take it for the whole
	}
}

// join takes the connection from net/http and relays. It returns at once: what
// net/http keeps for a request under way would be kept for days.
func (s *Server) join(x *exchange, o *opening) {
	if !strings.EqualFold(o.response.Header.Get("Upgrade"), "websocket") {
		o.close()
		s.failed(x, fmt.Errorf("the server switches to %q", o.response.Header.Get("Upgrade")))
		return
	}
	_ = s.modify(o.response)
	client, rw, err := x.control.Hijack()
	if err != nil {
		o.close()
		s.failed(x, err)
		return
	}
	x.report.Status, x.report.Upgraded = http.StatusSwitchingProtocols, true
	x.client.writeTimeout = 0 // a WebSocket has the time that its pool gives it
	soon := time.Now().Add(s.limits.BodyTimeout)
	_, _ = client.SetDeadline(soon), o.conn.SetDeadline(soon)
	if err := agree(rw, o); err != nil {
		_ = client.Close()
		o.close()
		return
	}
	_ = client.SetDeadline(time.Time{})
	go relay(client, o.conn.detach(), o.attempt.server.Release)
}

// agree writes the response, and moves what either side has sent since.
func agree(rw *bufio.ReadWriter, o *opening) error {
	// Response.Write would take what follows for a body.
	if _, err := fmt.Fprintf(rw, "HTTP/1.1 %s\r\n", o.response.Status); err != nil {
		return err
	}
	h := o.response.Header
	h.Set("Connection", "Upgrade")
	h.Del("Content-Length")
	if err := h.Write(rw); err != nil {
		return err
	}
	if _, err := rw.WriteString("\r\n"); err != nil {
		return err
	}
	if err := moveBuffered(rw, o.conn.reader); err != nil {
		return err
	}
	if err := rw.Flush(); err != nil {
		return err
	}
	return moveBuffered(o.conn, rw.Reader)
}

func moveBuffered(to io.Writer, from *bufio.Reader) error {
	if from.Buffered() == 0 {
		return nil
	}
	b, _ := from.Peek(from.Buffered())
	_, err := to.Write(b)
	return err
}
