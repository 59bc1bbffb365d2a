package l4

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// terminator is a handler that answers each line of a TLS client with that
// line, and an empty one with its end.
type terminator struct {
	config  *tls.Config
	handled chan *Handled // each connection, before its handshake
}

func newTerminator(t testing.TB) *terminator {
	return &terminator{config: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, handled: make(chan *Handled, 10)}
}

func (x *terminator) Handle(h *Handled) {
	defer h.Close()
	h.Served("itself")
	x.handled <- h
	conn := tls.Server(h, x.config)
	for r := bufio.NewReader(conn); ; {
		line, err := r.ReadString('\n')
		if err != nil || line == "\n" {
			return
		}
		_, _ = io.WriteString(conn, line)
	}
}

// says sends a line and wants it back.
func says(t *testing.T, c net.Conn, line string) {
	t.Helper()
	_, _ = fmt.Fprintln(c, line)
	if got, err := bufio.NewReader(c).ReadString('\n'); got != line+"\n" {
		t.Fatalf("got %q, %v, want %q", got, err, line)
	}
}

func handled(t testing.TB, x Handler, others ...*Route) *Config {
	routes := append(others, &Route{ServerName: "own.example", Action: Handle, Handler: x}, &Route{ServerName: "*.own.example", Action: Handle, Handler: x})
	return &Config{Loops: 2, Listeners: []*Listener{tlsListener(t, &Route{Action: Reject}, routes...)}}
}

func TestHandlerServesItsRoute(t *testing.T) {
	x, o := newTerminator(t), startOrigin(t, tlsEcho(t))
	r := startRig(t, handled(t, x, &Route{ServerName: "through.example", Pool: roundRobin(t, o.addr)}))
	c := r.dialTLS("own.example")
	says(t, c, "ahoy")
	h := <-x.handled
	if got := c.LocalAddr().String(); h.Client.String() != got || h.RemoteAddr().String() != got {
		t.Errorf("the client is %s, %s, want %s", h.Client, h.RemoteAddr(), got)
	}
	if got := c.RemoteAddr().String(); h.Local.String() != got || h.LocalAddr().String() != got {
		t.Errorf("it came to %s, %s, want %s", h.Local, h.LocalAddr(), got)
	}
	if left := time.Until(h.Deadline); left <= 0 || left > DefaultHelloTimeout {
		t.Errorf("%v are left for the handshake", left)
	}
	for name, want := range map[string]bool{
		"own.example": true, "OWN.example.": true, "a.own.example": true, "through.example": false, "": false, "other.example": false, "a b": false,
	} {
		if got := h.Leads(name); got != want {
			t.Errorf("%q leads to this handler: %v", name, got)
		}
	}
	list := r.e.Connections(func(*Connection) bool { return true })
	if len(list) != 1 || list[0].Server != "itself" || list[0].BytesUp == 0 || list[0].Route != "own.example" {
		t.Errorf("listed: %+v", list)
	}
	c.NetConn().Close()
	rec := r.next()
	if rec.Route != "own.example" || rec.Server != "itself" || rec.EndedBy != Client || rec.Reason != ReasonClosed || rec.BytesUp < 200 || rec.BytesDown < 200 {
		t.Errorf("recorded: %+v", rec)
	}
	through := r.dialTLS("through.example")
	through.Close()
	if rec := r.next(); rec.Route != "through.example" {
		t.Errorf("recorded: %+v", rec)
	}
}

func TestHandlerEnds(t *testing.T) {
	x := newTerminator(t)
	r := startRig(t, handled(t, x))
	c := r.dialTLS("own.example")
	says(t, c, "ahoy")
	_, _ = io.WriteString(c, "\n")
	if rec := r.next(); rec.EndedBy != Culvert || rec.Reason != ReasonClosed {
		t.Errorf("recorded: %+v", rec)
	}
}

// TestHandledAreClosed: what closes other connections closes those of a handler.
func TestHandledAreClosed(t *testing.T) {
	for name, end := range map[string]struct {
		do  func(*rig)
		why Reason
	}{
		"on demand": {func(r *rig) { r.e.CloseConnections(r.t.Context(), func(*Connection) bool { return true }, Pace{}) }, ReasonDrained},
		"by age":    {func(r *rig) { r.advance(time.Minute + time.Second) }, ReasonLifetime},
		"when idle": {func(r *rig) { r.advance(30*time.Second + time.Second) }, ReasonIdleTimeout},
		"at the end": {func(r *rig) {
			ctx, cancel := context.WithCancel(r.t.Context())
			cancel()
			r.e.Shutdown(ctx)
		}, ReasonDrained},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTerminator(t)
			cfg := handled(t, x)
			cfg.Listeners[0].Session.Lifetime = time.Minute
			if end.why == ReasonIdleTimeout {
				cfg.Listeners[0].Session.IdleTimeout = 30 * time.Second
			}
			r := startRig(t, cfg)
			c := r.dialTLS("own.example")
			says(t, c, "ahoy")
			end.do(r)
			if rec := r.next(); rec.EndedBy != Culvert || rec.Reason != end.why {
				t.Errorf("recorded: %+v", rec)
			}
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("the client's end is open")
			}
			h := <-x.handled
			if err := h.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("closed twice: %v", err)
			}
		})
	}
}

// TestHandledStayWhenOthersLeave: an upgrade moves what it can, and the engine
// goes on with the rest until that has ended.
func TestHandledStayWhenOthersLeave(t *testing.T) {
	x, o := newTerminator(t), startOrigin(t, tlsEcho(t))
	cfg := handled(t, x, &Route{ServerName: "through.example", Pool: roundRobin(t, o.addr)})
	r := startRig(t, cfg)
	own, through := r.dialTLS("own.example"), r.dialTLS("through.example")
	says(t, own, "ahoy")
	frozen, err := r.e.Freeze(nil)
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	for range frozen.Connections() {
		moved++
	}
	if moved != 1 {
		t.Errorf("%d connections can move, want 1", moved)
	}
	if n := frozen.Leave(); n != 1 {
		t.Errorf("%d connections stay, want 1", n)
	}
	says(t, own, "still there")
	if _, err := through.Read(make([]byte, 1)); err == nil {
		t.Error("nobody else has it, and it is open")
	}
	if c, err := net.DialTimeout("tcp", r.addrs[0], patience); err == nil {
		c.Close()
		t.Error("the listener is open")
	}
	ended := make(chan int)
	go func() { ended <- r.e.Shutdown(t.Context()) }()
	says(t, own, "and still")
	own.Close()
	if n := <-ended; n != 0 {
		t.Errorf("%d were cut", n)
	}
}

// TestHandlerOfAListener: without routes every connection is the handler's.
func TestHandlerOfAListener(t *testing.T) {
	x := newTerminator(t)
	ln := &Listener{Name: "own", Address: ip("127.0.0.1:0"), Handler: x}
	r := startRig(t, &Config{Listeners: []*Listener{ln, proxied(&Listener{Name: "proxied", Address: ip("127.0.0.1:0"), Handler: x}, "127.0.0.0/8")}})
	says(t, r.dialTLS("any.example"), "ahoy")
	h := <-x.handled
	if !h.Deadline.IsZero() || h.Leads("any.example") {
		t.Errorf("deadline %v, leads %v", h.Deadline, h.Leads("any.example"))
	}
	behind := r.dial(1)
	_, _ = io.WriteString(behind, "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n")
	says(t, tls.Client(behind, &tls.Config{InsecureSkipVerify: true}), "ahoy")
	if h := <-x.handled; h.Client.String() != "192.0.2.7:4711" {
		t.Errorf("the client is %s", h.Client)
	}
}
