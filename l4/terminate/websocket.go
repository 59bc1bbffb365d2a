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

// serveWebSocket sends a WebSocket handshake to a server. If the server switches
// protocols, it relays between the two; any other response is passed on.
// net/http's proxy could do that, but it holds two buffers of 32 KiB for every
// open WebSocket.
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

// opening is a server's response to a WebSocket handshake.
type opening struct {
	attempt  *attempt
	conn     *serverConn
	response *http.Response
}

func (o *opening) close() {
	o.conn.settle(false)
	o.attempt.server.Release()
}

// ask sends the handshake to a server. It has no effects there, so that another
// server may be asked after a failure.
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

// handshakeRequest returns the handshake as the server gets it.
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

// passOn sends the client a response other than 101.
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
		panic(http.ErrAbortHandler) // otherwise the client would take the part for the whole
	}
}

// join takes the connection over from net/http and starts the relay. It returns
// at once, because net/http would hold memory for the request until then.
func (s *Server) join(x *exchange, o *opening) {
	if !strings.EqualFold(o.response.Header.Get("Upgrade"), "websocket") {
		o.close()
		s.failed(x, fmt.Errorf("the server switched to protocol %q", o.response.Header.Get("Upgrade")))
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
	x.client.writeTimeout = 0 // the idle timeout of the listener applies to WebSockets
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

// agree writes the response, and passes on what both sides have sent already.
func agree(rw *bufio.ReadWriter, o *opening) error {
	// Response.Write would treat what follows as a body.
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
