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

// pair returns a connection that can be idle, and the server's end of it.
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
	_ = server.SetDeadline(time.Now().Add(testTimeout))
	limits := Limits{}.withDefaults()
	return newServerConn(conn, &limits), server.(*net.TCPConn)
}

// isClosed reports whether the other end of a connection is closed. It waits up
// to wait, and ignores data.
func isClosed(conn net.Conn, wait time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(wait))
	_, err := io.Copy(io.Discard, conn)
	return !timedOut(err)
}

// quietTime is how long to watch for something that must not happen.
const quietTime = 20 * time.Millisecond

// The most recently used connection is taken first, and each connection only
// once.
func TestTakeReturnsTheMostRecentlyUsed(t *testing.T) {
	var k idleConns
	defer k.close()
	one, _ := pair(t)
	two, _ := pair(t)
	key, other := connKey{server: "a"}, connKey{server: "b"}
	k.put(key, one)
	k.put(key, two)
	if got := k.take(other); got != nil {
		t.Error("took a connection to another server")
	}
	for i, want := range []*serverConn{two, one, nil, nil} {
		if got := k.take(key); got != want {
			t.Errorf("%d: took another connection", i)
		}
	}
	if k.n != 0 || len(k.free) != 0 {
		t.Errorf("%d connections to %d servers are left", k.n, len(k.free))
	}
}

// A connection that the server has closed or sent bytes on, or that has been
// idle for too long, is closed by take and by a sweep.
func TestUnfitConnectionsAreClosed(t *testing.T) {
	old := time.Now().Add(-maxIdleTime)
	for _, tt := range []struct {
		name   string
		change func(c *serverConn, server *net.TCPConn)
		fit    bool
	}{
		{"unchanged", func(*serverConn, *net.TCPConn) {}, true},
		{"idle for long, but not too long", func(c *serverConn, _ *net.TCPConn) { c.since = old.Add(testTimeout) }, true},
		{"idle for too long", func(c *serverConn, _ *net.TCPConn) { c.since = old }, false},
		{"the server ends", func(_ *serverConn, s *net.TCPConn) { _ = s.CloseWrite() }, false},
		{"the server speaks", func(_ *serverConn, s *net.TCPConn) { _, _ = io.WriteString(s, "H") }, false},
		{"closed at our end", func(c *serverConn, _ *net.TCPConn) { c.abort() }, false},
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
					t.Errorf("%d are idle after a sweep", k.n)
				}
				if tt.fit {
					if isClosed(server, quietTime) {
						t.Errorf("%s: the connection is closed", name)
					}
				} else if !isClosed(server, testTimeout) {
					t.Errorf("%s: the connection stays open", name)
				}
			}
		})
	}
}

// Sweeps run as long as there are idle connections.
func TestSweeps(t *testing.T) {
	t.Parallel() // mostly waiting
	var k idleConns
	defer k.close()
	c, server := pair(t)
	k.put(connKey{}, c)
	_ = server.CloseWrite() // no caller takes the connection, so only a sweep notices
	if !isClosed(server, testTimeout) {
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
		t.Error("no sweep is scheduled for the next connection")
	}
}

// Idle connections are bounded per server and in total. At the total bound the
// newest one replaces another.
func TestIdleConnectionsAreBounded(t *testing.T) {
	var k idleConns
	defer k.close()
	put := func(server string) (other net.Conn) {
		conn, other := net.Pipe() // cheaper than a thousand sockets
		k.put(connKey{server: server}, newServerConn(conn, nil))
		return other
	}
	fill := func(server string) {
		for range maxIdlePerServer {
			put(server)
		}
	}
	fill("0")
	if !isClosed(put("0"), testTimeout) || k.n != maxIdlePerServer {
		t.Errorf("%d connections to one server are idle", k.n)
	}
	for i := 1; i*maxIdlePerServer < maxIdle; i++ {
		fill(fmt.Sprint(i))
	}
	if isClosed(put("another"), quietTime) || k.n != maxIdle {
		t.Errorf("%d connections are idle in total, or the newest is not among them", k.n)
	}
	k.take(connKey{server: "another"}).abort()
	if isClosed(put("another"), quietTime) || k.n != maxIdle {
		t.Errorf("%d connections are idle after one was taken", k.n)
	}
}

// Retire closes idle connections at once, and the others when their requests
// have ended.
func TestRetireClosesIdleConnections(t *testing.T) {
	arrived, finish := make(chan bool, 1), make(chan bool)
	server := startScripted(t, false, func(x *scriptedRequest) bool {
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
	within(t, "a request has reached the server", arrived)
	r.get("HTTP/1.1", "/")
	if n := server.open.Load(); n != 2 {
		t.Fatalf("%d connections are open, want 2", n)
	}
	r.Retire()
	eventually(t, "the idle connection is closed", func() bool { return server.open.Load() == 1 })
	close(finish)
	if got := within(t, "the request finishes", slow); got != 200 {
		t.Errorf("got %d, want 200", got)
	}
	eventually(t, "the other connection is closed", func() bool { return server.open.Load() == 0 })
	r.get("HTTP/1.1", "/late")
	eventually(t, "a connection that is put later is closed", func() bool { return server.open.Load() == 0 })
}

// Requests share connections only if server, TLS and the verified name are the
// same, and also the client if the server is told its address.
func TestRequestsShareConnectionsOfTheSameKey(t *testing.T) {
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
		{"two clients, server told", attempt{told, servers[0], one}, attempt{told, servers[0], two}, false},
		{"one client, server told", attempt{told, servers[0], one}, attempt{told, servers[0], one}, true},
		{"one client's next connection, server told", attempt{told, servers[0], one}, attempt{told, servers[0], reconnected}, false},
		{"server told, and not told", attempt{told, servers[0], one}, attempt{plain, servers[0], one}, false},
		{"another name at the address", attempt{plain, servers[0], one}, attempt{plain, servers[1], one}, false},
		{"another address", attempt{plain, servers[0], one}, attempt{plain, servers[2], one}, false},
		{"a name that is not verified", attempt{plain, servers[0], one}, attempt{plain, servers[0], renamed}, true},
		{"TLS, and not", attempt{&Upstream{TLS: fixed}, servers[0], one}, attempt{plain, servers[0], one}, false},
		{"a fixed name", attempt{&Upstream{TLS: fixed}, servers[0], one}, attempt{&Upstream{TLS: fixed}, servers[0], renamed}, true},
		{"the client's name", attempt{&Upstream{TLS: asked}, servers[0], one}, attempt{&Upstream{TLS: asked}, servers[0], renamed}, false},
		{"the client's name, two clients", attempt{&Upstream{TLS: asked}, servers[0], one}, attempt{&Upstream{TLS: asked}, servers[0], two}, true},
	} {
		if got := tt.a.key() == tt.b.key(); got != tt.same {
			t.Errorf("%s: same key: %v, want %v", tt.name, got, tt.same)
		}
	}
}

// A connection that its server has closed is not reused, so that requests that
// must not be repeated do not fail.
func TestClosedConnectionIsNotUsedAgain(t *testing.T) {
	raw := func(x *scriptedRequest) *net.TCPConn { return x.tcp }
	for name, end := range map[string]func(x *scriptedRequest){
		"closes":                   func(x *scriptedRequest) { _ = raw(x).Close() },
		"resets":                   func(x *scriptedRequest) { _ = raw(x).SetLinger(0); _ = raw(x).Close() },
		"ends":                     func(x *scriptedRequest) { _ = raw(x).CloseWrite() },
		"with close_notify or FIN": func(x *scriptedRequest) { _ = x.conn.(interface{ CloseWrite() error }).CloseWrite() },
		"sends a 408 and closes": func(x *scriptedRequest) {
			_, _ = io.WriteString(x.conn, "HTTP/1.1 408 Request Timeout\r\n\r\n")
			_ = raw(x).Close()
		},
	} {
		for _, secure := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, TLS %v", name, secure), func(t *testing.T) {
				ended := make(chan bool, 1)
				var posts atomic.Int64
				server := startScripted(t, secure, func(x *scriptedRequest) bool {
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
					within(t, "the server closes the connection", ended)
				}
				got := r.do(client, newRequest(t, http.MethodPost, "/", strings.NewReader("hello")))
				if got.StatusCode != 200 || posts.Load() != 1 || server.conns.Load() != 4 {
					t.Errorf("got %s, over %d connections", got.Status, server.conns.Load())
				}
			})
		}
	}
}

// Connections that cannot be reused any more, because their clients have left,
// do not take the place of usable ones.
func TestNewestConnectionsStayIdle(t *testing.T) {
	var k idleConns
	defer k.close()
	for i := range maxIdle + 1 {
		conn, _ := net.Pipe()
		c := newServerConn(conn, nil)
		key := connKey{server: string(rune(i))}
		k.put(key, c)
		if k.take(key) != c {
			t.Fatalf("connection %d is not idle", i)
		}
		k.put(key, c)
	}
}

// A connection that was taken can be collected as garbage.
func TestTakenConnectionIsNotReferenced(t *testing.T) {
	var k idleConns
	defer k.close()
	for range 2 {
		conn, _ := net.Pipe()
		k.put(connKey{}, newServerConn(conn, nil))
	}
	k.take(connKey{})
	if list := k.free[connKey{}]; list[:2][1] != nil {
		t.Error("it is still referenced")
	}
}
