package l4

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"culvert/l4/socket"
)

func TestHandshakePassesThrough(t *testing.T) {
	o := startOrigin(t, tlsEcho(t))
	r := startRig(t, &Config{Listeners: []*Listener{tlsListener(t, nil, &Route{ServerName: "chat.example.com", Pool: roundRobin(t, o.addr)})}})
	c := r.dialTLS("chat.example.com")
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Fatalf("got %q, %v, want the echo", got, err)
	}
	_ = c.CloseWrite()
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Fatalf("got %q, %v after the client's end, want the server's", rest, err)
	}
	c.Close()
	rec := r.next()
	if rec.ServerName != "chat.example.com" || rec.Server != o.addr || rec.Route != "chat.example.com" || rec.Reason != ReasonClosed || rec.EndedBy == Culvert {
		t.Errorf("got record %+v", rec)
	}
}

// echoes sends data both ways through c at once and compares.
func echoes(t *testing.T, c net.Conn, size int) {
	t.Helper()
	sent := make([]byte, size)
	_, _ = rand.Read(sent)
	go func() {
		_, _ = c.Write(sent)
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("got %d bytes, %v, want the %d that were sent", len(got), err, size)
	}
}

func TestEveryAddressFamilyOnBothSides(t *testing.T) {
	dir := t.TempDir()
	listen := func(network, addr string) string {
		ln, err := net.Listen(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		return serveOrigin(t, ln, echo).addr
	}
	servers := map[string]string{
		"ipv4": listen("tcp4", "127.0.0.1:0"),
		"ipv6": listen("tcp6", "[::1]:0"),
		"unix": listen("unix", filepath.Join(dir, "origin.sock")),
	}
	path, err := socket.Unix(filepath.Join(dir, "culvert.sock"))
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string]socket.Addr{"ipv4": ip("127.0.0.1:0"), "ipv6": ip("[::1]:0"), "unix": path}
	for from, addr := range clients {
		for to, srv := range servers {
			t.Run(from+" to "+to, func(t *testing.T) {
				ln := plainListener(roundRobin(t, srv))
				ln.Address = addr
				r := startRig(t, &Config{Listeners: []*Listener{ln}, Loops: 2})
				for range 4 {
					echoes(t, r.dial(0), 1<<20)
				}
			})
		}
	}
}

func TestPortInUseIsRefused(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	l := plainListener(roundRobin(t, "127.0.0.1:1"))
	l.Address = ip(ln.Addr().String())
	if _, err := Start(&Config{Listeners: []*Listener{l}}, Hooks{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v, want %v", err, syscall.EADDRINUSE)
	}
}

func TestSecondEngineOnTheSamePortIsRefused(t *testing.T) {
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(roundRobin(t, "127.0.0.1:1"))}})
	l := plainListener(roundRobin(t, "127.0.0.1:1"))
	l.Address = r.e.Addrs()[0]
	if _, err := Start(&Config{Listeners: []*Listener{l}}, Hooks{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v, want %v", err, syscall.EADDRINUSE)
	}
}

func TestShutdownLetsConnectionsFinish(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(roundRobin(t, o.addr))}})
	c := r.dial(0)
	if _, err := c.Write([]byte("a")); err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	if _, err := io.ReadFull(c, one); err != nil {
		t.Fatal(err)
	}
	closed := make(chan int)
	go func() { closed <- r.e.Shutdown(context.Background()) }()
	eventually(t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", r.addrs[0])
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	echoes(t, c, 1<<20)
	c.Close()
	if n := <-closed; n != 0 {
		t.Errorf("Shutdown closed %d connections, want 0", n)
	}
}

func TestShutdownClosesWhatIsLeft(t *testing.T) {
	o := startOrigin(t, echo)
	r := startRig(t, &Config{Listeners: []*Listener{plainListener(roundRobin(t, o.addr))}})
	c := r.dial(0)
	_, _ = c.Write([]byte("a"))
	_, _ = io.ReadFull(c, make([]byte, 1))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if n := r.e.Shutdown(ctx); n != 1 {
		t.Errorf("Shutdown closed %d connections, want 1", n)
	}
	if rec := r.next(); rec.Reason != ReasonDrained || rec.EndedBy != Culvert {
		t.Errorf("got %v by %v, want %v by %v", rec.Reason, rec.EndedBy, ReasonDrained, Culvert)
	}
}
