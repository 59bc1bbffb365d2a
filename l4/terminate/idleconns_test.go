package terminate

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"culvert/balancer"
)

// pair is a connection as it is kept, and its server's end.
func pair(t testing.TB) (*serverConn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); server.Close() })
	_ = server.SetDeadline(time.Now().Add(patience))
	limits := Limits{}.withDefaults()
	return newServerConn(conn, &limits), server.(*net.TCPConn)
}

// isClosed reports whether the other end of a connection is closed. It waits
// that long for it, whatever else comes.
func isClosed(conn net.Conn, wait time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	_, err := io.Copy(io.Discard, conn)
	return !timedOut(err)
}

// moment is for what must not happen.
const moment = 20 * time.Millisecond

// The connection that was used last is taken first, and each only once.
func TestTakeLastFirst(t *testing.T) {
	var k idleConns
	defer k.close()
	one, _ := pair(t)
	two, _ := pair(t)
	key, other := connKey{server: "a"}, connKey{server: "b"}
	k.put(key, one)
	k.put(key, two)
	if got := k.take(other); got != nil {
		t.Error("a connection to another server is taken")
	}
	for i, want := range []*serverConn{two, one, nil, nil} {
		if got := k.take(key); got != want {
			t.Errorf("%d: another connection is taken", i)
		}
	}
	if k.n != 0 || len(k.free) != 0 {
		t.Errorf("%d connections are left, of %d servers", k.n, len(k.free))
	}
}

// A connection that its server has ended or spoken on, or that has waited too
// long, is neither taken nor kept.
func TestUnfitConnectionsAreClosed(t *testing.T) {
	old := time.Now().Add(-maxIdleTime)
	for _, tt := range []struct {
		name   string
		change func(c *serverConn, server *net.TCPConn)
		fit    bool
	}{
		{"nothing happens", func(*serverConn, *net.TCPConn) {}, true},
		{"kept long, but not too long", func(c *serverConn, _ *net.TCPConn) { c.since = old.Add(patience) }, true},
		{"kept too long", func(c *serverConn, _ *net.TCPConn) { c.since = old }, false},
		{"the server ends", func(_ *serverConn, s *net.TCPConn) { _ = s.CloseWrite() }, false},
		{"the server speaks", func(_ *serverConn, s *net.TCPConn) { _, _ = io.WriteString(s, "H") }, false},
		{"it is closed", func(c *serverConn, _ *net.TCPConn) { c.abort() }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key := connKey{server: "a"}
			var taking, pruning idleConns
			defer taking.close()
			defer pruning.close()
			for name, k := range map[string]*idleConns{"take": &taking, "prune": &pruning} {
				c, server := pair(t)
				k.put(key, c)
				tt.change(c, server)
				if name == "take" {
					if got := k.take(key); (got == c) != tt.fit {
						t.Errorf("taken: %v, want %v", got == c, tt.fit)
					}
				} else if k.prune(); (k.n == 1) != tt.fit || (len(k.free) == 1) != tt.fit {
					t.Errorf("%d are kept after a sweep", k.n)
				}
				if tt.fit {
					if isClosed(server, moment) {
						t.Errorf("%s: the connection is closed", name)
					}
				} else if !isClosed(server, patience) {
					t.Errorf("%s: the connection stays open", name)
				}
			}
		})
	}
}

// Sweeps come while there is something to sweep, and then no more.
func TestSweeps(t *testing.T) {
	t.Parallel() // it mostly waits
	var k idleConns
	defer k.close()
	c, server := pair(t)
	k.put(connKey{}, c)
	_ = server.CloseWrite() // nobody takes the connection, and all the same
	if !isClosed(server, patience) {
		t.Error("the connection stays open")
	}
	eventually(t, "the sweeps end", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.sweep == nil && k.n == 0
	})
	c, _ = pair(t)
	k.put(connKey{}, c)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sweep == nil {
		t.Error("there is no sweep for the next connection")
	}
}

// What is kept is bounded, for a server and in all, where the latest has a
// place.
func TestKeptConnectionsAreBounded(t *testing.T) {
	var k idleConns
	defer k.close()
	put := func(server string) (other net.Conn) {
		conn, other := net.Pipe() // a thousand sockets are many
		k.put(connKey{server: server}, newServerConn(conn, nil))
		return other
	}
	fill := func(server string) {
		for range maxIdlePerServer {
			put(server)
		}
	}
	fill("0")
	if !isClosed(put("0"), patience) || k.n != maxIdlePerServer {
		t.Errorf("%d connections to one server are kept", k.n)
	}
	for i := 1; i*maxIdlePerServer < maxIdle; i++ {
		fill(fmt.Sprint(i))
	}
	if isClosed(put("another"), moment) || k.n != maxIdle {
		t.Errorf("%d connections are kept in all, or not the latest", k.n)
	}
	k.take(connKey{server: "another"}).abort()
	if isClosed(put("another"), moment) || k.n != maxIdle {
		t.Errorf("%d connections are kept after one was taken", k.n)
	}
}

// A Server that is retired closes the connections that wait, at once, and the
// others when their requests are over.
func TestRetireClosesKeptConnections(t *testing.T) {
	arrived, finish := make(chan bool, 1), make(chan bool)
	server := startTurns(t, false, func(x *turn) bool {
		if x.URL.Path == "/slow" {
			arrived <- true
			<-finish
		}
		x.answer("HTTP/1.1 200 OK", "Content-Length: 0\r\n\r\n")
		return true
	})
	r := startRig(t, setting{}, server.addr)
	slow := make(chan int, 1)
	client, q := r.client("HTTP/1.1"), newRequest(t, "GET", "/slow", nil)
	go func() {
		res, err := client.Do(q)
		if err != nil {
			slow <- 0
			return
		}
		slow <- res.StatusCode
		res.Body.Close()
	}()
	within(t, "a request is under way", arrived)
	r.get("HTTP/1.1", "/")
	if n := server.open.Load(); n != 2 {
		t.Fatalf("%d connections are open, want 2", n)
	}
	r.Retire()
	eventually(t, "the connection that waits is closed", func() bool { return server.open.Load() == 1 })
	close(finish)
	if got := within(t, "the request finishes", slow); got != 200 {
		t.Errorf("got %d, want 200", got)
	}
	eventually(t, "the other one is closed", func() bool { return server.open.Load() == 0 })
	r.get("HTTP/1.1", "/late")
	eventually(t, "a late one is closed too", func() bool { return server.open.Load() == 0 })
}

// Requests share connections only when server, TLS and its name are the same,
// and the client where the server is told of it.
func TestKeys(t *testing.T) {
	server := func(name, addr string) *balancer.Server {
		return newPool(t, func(c *balancer.Config) { c.Servers = []balancer.ServerConfig{{Name: name, Address: addr}} }).Servers()[0]
	}
	servers := []*balancer.Server{server("a", "192.0.2.1:80"), server("b", "192.0.2.1:80"), server("a", "192.0.2.2:80")}
	fixed, asked := &tls.Config{ServerName: "inside"}, &tls.Config{}
	client := func(addr, name string) Client { return Client{Addr: netip.MustParseAddrPort(addr), Name: name} }
	one, two := client("192.0.2.9:1", chat), client("192.0.2.9:2", chat)
	renamed := client("192.0.2.9:1", alias)
	reconnected := one
	reconnected.ID = "2"
	plain, told := &Upstream{}, &Upstream{PerClient: true}
	for _, tt := range []struct {
		name string
		a, b attempt
		same bool
	}{
		{"two clients", attempt{plain, servers[0], one}, attempt{plain, servers[0], two}, true},
		{"two clients, told", attempt{told, servers[0], one}, attempt{told, servers[0], two}, false},
		{"one client, told", attempt{told, servers[0], one}, attempt{told, servers[0], one}, true},
		{"one client's next connection, told", attempt{told, servers[0], one}, attempt{told, servers[0], reconnected}, false},
		{"told, and not", attempt{told, servers[0], one}, attempt{plain, servers[0], one}, false},
		{"another name at the address", attempt{plain, servers[0], one}, attempt{plain, servers[1], one}, false},
		{"another address", attempt{plain, servers[0], one}, attempt{plain, servers[2], one}, false},
		{"a name that does not matter", attempt{plain, servers[0], one}, attempt{plain, servers[0], renamed}, true},
		{"TLS, and not", attempt{&Upstream{TLS: fixed}, servers[0], one}, attempt{plain, servers[0], one}, false},
		{"a fixed name", attempt{&Upstream{TLS: fixed}, servers[0], one}, attempt{&Upstream{TLS: fixed}, servers[0], renamed}, true},
		{"the client's name", attempt{&Upstream{TLS: asked}, servers[0], one}, attempt{&Upstream{TLS: asked}, servers[0], renamed}, false},
		{"the client's name, two clients", attempt{&Upstream{TLS: asked}, servers[0], one}, attempt{&Upstream{TLS: asked}, servers[0], two}, true},
	} {
		if got := tt.a.key() == tt.b.key(); got != tt.same {
			t.Errorf("%s: the same: %v, want %v", tt.name, got, tt.same)
		}
	}
}

// A connection that its server has closed is not used again, not even for what
// may not be repeated.
func TestClosedConnectionIsNotUsedAgain(t *testing.T) {
	raw := func(x *turn) *net.TCPConn { return x.tcp }
	for name, end := range map[string]func(x *turn){
		"closes":  func(x *turn) { _ = raw(x).Close() },
		"resets":  func(x *turn) { _ = raw(x).SetLinger(0); _ = raw(x).Close() },
		"ends":    func(x *turn) { _ = raw(x).CloseWrite() },
		"says so": func(x *turn) { _ = x.conn.(interface{ CloseWrite() error }).CloseWrite() },
		"says sorry": func(x *turn) {
			_, _ = io.WriteString(x.conn, "HTTP/1.1 408 Request Timeout\r\n\r\n")
			_ = raw(x).Close()
		},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", name, secure), func(t *testing.T) {
				ended := make(chan bool, 1)
				var posts atomic.Int64
				server := startTurns(t, secure, func(x *turn) bool {
					if x.Method == "POST" {
						posts.Add(1)
					}
					x.answer("HTTP/1.1 200 OK", "Content-Length: 5\r\n\r\nhello")
					if x.Method == "GET" {
						end(x)
						ended <- true
					}
					return true
				})
				r := startRig(t, behind(secure), server.addr)
				client := r.client("HTTP/1.1")
				for i := range 3 {
					q := newRequest(t, "GET", fmt.Sprint("/", i), nil)
					if got := r.do(client, q); got.StatusCode != 200 || got.Header.Get("X-Path") != q.URL.Path {
						t.Fatalf("got %s, %v", got.Status, got.Header)
					}
					within(t, "the server ends it", ended)
				}
				got := r.do(client, newRequest(t, http.MethodPost, "/", strings.NewReader("hello")))
				if got.StatusCode != 200 || posts.Load() != 1 || server.conns.Load() != 4 {
					t.Errorf("got %s, over %d connections", got.Status, server.conns.Load())
				}
			})
		}
	}
}

// Connections that nobody may use any more, those of clients that have left,
// do not keep others from being kept.
func TestLatestConnectionsAreKept(t *testing.T) {
	var k idleConns
	defer k.close()
	for i := range maxIdle + 1 {
		conn, _ := net.Pipe()
		c := newServerConn(conn, nil)
		key := connKey{server: string(rune(i))}
		k.put(key, c)
		if k.take(key) != c {
			t.Fatalf("connection %d is not kept", i)
		}
		k.put(key, c)
	}
}

// What was taken is not held on to.
func TestTakenConnectionIsForgotten(t *testing.T) {
	var k idleConns
	defer k.close()
	for range 2 {
		conn, _ := net.Pipe()
		k.put(connKey{}, newServerConn(conn, nil))
	}
	k.take(connKey{})
	if list := k.free[connKey{}]; list[:2][1] != nil {
		t.Error("it is still there")
	}
}
