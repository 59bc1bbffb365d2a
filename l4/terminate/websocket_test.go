package terminate

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"culvert/balancer"
	"culvert/l4/terminate/mattermosttest"
)

const socketPath = "/api/v4/websocket"

// handshake returns a WebSocket handshake with additional headers.
func handshake(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + chat + "\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + strings.Join(append(headers, "", ""), "\r\n")
}

const agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

// open sends a handshake. It returns the response, and a reader of what follows.
func (r *rig) open(request string) (net.Conn, *bufio.Reader, *http.Response) {
	r.t.Helper()
	conn := r.dial(r.tls("http/1.1"))
	if _, err := io.WriteString(conn, request); err != nil {
		r.t.Fatal(err)
	}
	b := bufio.NewReader(conn)
	res, err := http.ReadResponse(b, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return conn, b, res
}

// speaking starts a server that accepts a WebSocket and then calls script.
func speaking(t testing.TB, script func(c net.Conn, r *bufio.Reader)) (addr string) {
	return startScript(t, func(c net.Conn, r *bufio.Reader) {
		if _, err := readHead(r); err != nil {
			return
		}
		if _, err := io.WriteString(c, agreed); err == nil {
			script(c, r)
		}
	})
}

func echo(c net.Conn, r *bufio.Reader) { _, _ = io.Copy(c, r) }

// startNode starts a Mattermost node whose users can log in.
func startNode(t testing.TB) *mattermosttest.Node {
	t.Helper()
	node, err := mattermosttest.NewNode(mattermosttest.Config{SiteURL: "https://" + chat, Node: "one"}, mattermosttest.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	return node
}

// A handshake is accepted with the secret, or if it is exempt, and its Origin is
// passed on unchanged.
func TestWebSocketAndTheSecret(t *testing.T) {
	node := startNode(t)
	secrets := mustLoadSecrets(t, "current: "+secretOne)
	secret := SecretHeader + ": " + secretOne
	origin := "Origin: https://" + chat
	for _, tt := range []struct {
		name    string
		exempt  bool
		path    string
		headers []string
		want    int
	}{
		{"with it", false, socketPath, []string{secret, origin}, 101},
		{"without", false, socketPath, []string{origin}, 403},
		{"wrong", false, socketPath, []string{SecretHeader + ": " + secretOne + "x", origin}, 403},
		{"exempt", true, socketPath, []string{origin}, 101},
		{"exempt, with it", true, socketPath, []string{secret, origin}, 101},
		{"exempt, with a slash", true, socketPath + "/", []string{origin}, 403},
		{"exempt, escaped", true, "/api/v4/%77ebsocket", []string{origin}, 403},
		{"exempt, another path", true, "/api/v4/users/me", []string{origin}, 403},
		{"exempt, a query", true, socketPath + "?connection_id=&sequence_number=0", []string{origin}, 101},
		{"exempt, an Origin elsewhere", true, socketPath, []string{"Origin: https://evil.example.com"}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRig(t, setting{Config: Config{Preauth: &Preauth{Secrets: func() *Secrets { return secrets }, ExemptWebSocket: tt.exempt}}}, node.Addr())
			before := len(node.Requests())
			conn, _, res := r.open(handshake(tt.path, tt.headers...))
			defer conn.Close()
			if res.StatusCode != tt.want {
				t.Errorf("got %s, want %d", res.Status, tt.want)
			}
			refusedHere := tt.want == 403 && len(tt.headers) > 0 && !strings.Contains(tt.headers[len(tt.headers)-1], "evil")
			if got := res.Header.Get("X-Reject-Reason") == "pre-auth"; got != refusedHere {
				t.Errorf("reject header: %v, want %v", got, refusedHere)
			}
			all := node.Requests()[before:]
			if (len(all) == 1) == refusedHere {
				t.Fatalf("the server got %+v", all)
			}
			for _, q := range all {
				if q.Header.Get("Origin") != strings.TrimPrefix(tt.headers[len(tt.headers)-1], "Origin: ") || q.Header.Get(SecretHeader) != "" ||
					q.Host != chat || !q.HTTPS || q.Header.Get("X-Forwarded-For") != "127.0.0.1" || q.Header.Get("Connection") != "Upgrade" {
					t.Errorf("the server got %+v", q)
				}
			}
		})
	}
}

// dialSocket opens a WebSocket with a WebSocket library.
func (r *rig) dialSocket(ctx context.Context, path string) (*websocket.Conn, error) {
	client := r.client("HTTP/1.1")
	client.Timeout = 0
	c, _, err := websocket.Dial(ctx, "wss://"+chat+path, &websocket.DialOptions{HTTPClient: client, HTTPHeader: http.Header{"Origin": {"https://" + chat}}})
	return c, err
}

// A WebSocket library can use the WebSocket of Mattermost.
func TestWebSocketOfMattermost(t *testing.T) {
	node := startNode(t)
	r := startRig(t, setting{}, node.Addr())
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	c, err := r.dialSocket(ctx, socketPath)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for n := range 10 {
		ask, _ := json.Marshal(mattermosttest.Action{Sequence: int64(n + 1), Action: "ping"})
		if err := c.Write(ctx, websocket.MessageText, ask); err != nil {
			t.Fatal(err)
		}
		_, text, err := c.Read(ctx)
		if err != nil || !strings.Contains(string(text), "not_authenticated") || !strings.Contains(string(text), fmt.Sprintf(`"seq_reply":%d`, n+1)) {
			t.Fatalf("got %s, %v", text, err)
		}
	}
	if s := r.pool.Servers()[0]; s.Active() != 1 || node.Sockets() != 1 {
		t.Errorf("the server has %d active requests and %d sockets", s.Active(), node.Sockets())
	}
	_ = c.Close(websocket.StatusNormalClosure, "")
	eventually(t, "the server's side of the WebSocket ends", func() bool { return node.Sockets() == 0 && r.pool.Servers()[0].Active() == 0 })
	if q := r.report(); !q.Upgraded || q.Status != 101 || q.Server != node.Addr() {
		t.Errorf("got the report %+v", q)
	}
}

// Messages of all sizes arrive complete and in order, in both directions.
func TestWebSocketMessages(t *testing.T) {
	server := startRecorder(t, func(w http.ResponseWriter, q *http.Request) {
		c, err := websocket.Accept(w, q, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(-1)
		for {
			kind, msg, err := c.Read(context.Background())
			if err != nil || c.Write(context.Background(), kind, msg) != nil {
				return
			}
		}
	})
	r := startRig(t, setting{}, server.addr)
	ctx, cancel := context.WithTimeout(context.Background(), 2*testTimeout)
	defer cancel()
	const sockets, messages = 8, 500
	var wg sync.WaitGroup
	for i := range sockets {
		wg.Go(func() {
			c, err := r.dialSocket(ctx, "/")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.CloseNow()
			c.SetReadLimit(-1)
			sums := make(chan [32]byte, 32) // the number of messages in flight
			go func() {
				defer close(sums)
				random := rand.New(rand.NewPCG(uint64(i), 1))
				for n := range messages {
					msg := make([]byte, size(random, n))
					for k := range msg {
						msg[k] = byte(random.Uint32())
					}
					sums <- sha256.Sum256(msg)
					if err := c.Write(ctx, websocket.MessageBinary, msg); err != nil {
						t.Error(err)
						return
					}
				}
			}()
			n := 0
			for sum := range sums {
				_, msg, err := c.Read(ctx)
				if err != nil || sha256.Sum256(msg) != sum {
					t.Errorf("message %d: got %d bytes, %v", n, len(msg), err)
					cancel()
					return
				}
				n++
			}
			_ = c.Close(websocket.StatusNormalClosure, "")
		})
	}
	wg.Wait()
}

// size returns mostly small sizes, often some near that of a buffer, and
// sometimes large ones.
func size(random *rand.Rand, n int) int {
	switch n % 10 {
	case 0:
		return random.IntN(100 << 10)
	case 1:
		return smallBuffer - 20 + random.IntN(40)
	case 2:
		return bufferSize - 20 + random.IntN(40)
	}
	return random.IntN(600)
}

// A server's response other than 101 goes to the client.
func TestWebSocketRefusedByServer(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name, response string
		want           int
		body           string
	}{
		{"403", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-A: b\r\nConnection: X-Hop\r\nX-Hop: c\r\n\r\nno", 403, "no"},
		{"chunked", "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", 400, "no"},
		{"until the end", "HTTP/1.1 400 Bad Request\r\n\r\nno", 400, "no"},
		{"large", "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(large), large), 400, large},
		{"after 103", "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403, "no"},
		{"after 100", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403, "no"},
		{"200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", 200, "no"},
		{"401", "HTTP/1.1 401 Unauthorized\r\nX-Reject-Reason: pre-auth\r\nContent-Length: 2\r\n\r\nno", 401, "no"},
		{"101 without Upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n", 502, "Bad Gateway\n"},
		{"101 to something else", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 502, "Bad Gateway\n"},
		{"no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", 502, "Bad Gateway\n"},
		{"nothing", "", 502, "Bad Gateway\n"},
		{"status 42", "HTTP/1.1 042 What\r\n\r\n", 502, "Bad Gateway\n"},
		{"headers without end", "HTTP/1.1 101 Switching Protocols\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 400), 502, "Bad Gateway\n"},
		{"103 without end", strings.Repeat("HTTP/1.1 103 Early Hints\r\nA: "+strings.Repeat("b", 1000)+"\r\n\r\n", 400), 502, "Bad Gateway\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRig(t, setting{}, answering(t, tt.response))
			_, _, res := r.open(handshake(socketPath))
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != tt.want || string(body) != tt.body {
				t.Errorf("got %s, %d bytes, %v; want %d, %d bytes", res.Status, len(body), err, tt.want, len(tt.body))
			}
			for _, name := range []string{"X-Reject-Reason", "Upgrade", "X-Hop"} {
				if v := res.Header.Get(name); v != "" {
					t.Errorf("got %s: %s", name, v)
				}
			}
			if q := r.report(); q.Status != tt.want || q.Upgraded {
				t.Errorf("got the report %+v", q)
			}
		})
	}
}

// A response other than 101 that the server cuts short is not passed on as
// complete.
func TestWebSocketRefusalCutShort(t *testing.T) {
	r := startRig(t, setting{}, answering(t, "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhello"))
	conn := r.dial(r.tls("http/1.1"))
	_, _ = io.WriteString(conn, handshake(socketPath))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return
	}
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("got the complete body %q", b)
	}
}

// A handshake is sent to the next server if one refuses or closes the connection.
func TestWebSocketGoesToTheNextServer(t *testing.T) {
	var n atomic.Int64
	for _, first := range []string{closedAddr(t), deadly(t, &n)} {
		r := startRig(t, setting{pool: func(c *balancer.Config) { c.Servers[1].Backup = true }}, first, speaking(t, echo))
		_, b, res := r.open(handshake(socketPath) + "hello")
		got := make([]byte, 5)
		if _, err := io.ReadFull(b, got); err != nil || res.StatusCode != 101 || string(got) != "hello" {
			t.Errorf("got %s, %q, %v", res.Status, got, err)
		}
		if q := r.report(); q.Tries != 2 {
			t.Errorf("got the report %+v", q)
		}
	}
}

// Bytes that either side sends together with the handshake are not lost.
func TestWebSocketBytesBehindTheHandshake(t *testing.T) {
	for _, n := range []int{1, 100, 4000, 4096, 5000, 100_000} {
		early := bytes.Repeat([]byte("0123456789"), n/10+1)[:n]
		got := make(chan []byte, 1)
		server := startScript(t, func(c net.Conn, r *bufio.Reader) {
			if _, err := readHead(r); err != nil {
				return
			}
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = c.Write(append([]byte(agreed), early...)) })
			b := make([]byte, n)
			_, _ = io.ReadFull(r, b)
			got <- b
			wg.Wait()
		})
		r := startRig(t, setting{}, server)
		conn, b, res := r.open(handshake(socketPath) + string(early))
		back := make([]byte, n)
		if _, err := io.ReadFull(b, back); err != nil || res.StatusCode != 101 || !bytes.Equal(back, early) {
			t.Errorf("%d bytes: the client got %s, %v, different bytes: %v", n, res.Status, err, !bytes.Equal(back, early))
		}
		if there := within(t, "the server has the bytes", got); !bytes.Equal(there, early) {
			t.Errorf("%d bytes: the server got different bytes", n)
		}
		conn.Close()
	}
}

// The client gets the headers of the server's 101, cleaned.
func TestWebSocketResponseHeaders(t *testing.T) {
	server := startScript(t, func(c net.Conn, r *bufio.Reader) {
		_, _ = readHead(r)
		_, _ = io.WriteString(c, strings.Replace(agreed, "Sec-", "Sec-WebSocket-Protocol: a\r\nX-Reject-Reason: pre-auth\r\nX-A: b\r\nContent-Length: 5\r\nSec-", 1))
		echo(c, r)
	})
	r := startRig(t, setting{Config: Config{HSTS: time.Hour}}, server)
	_, _, res := r.open(handshake(socketPath))
	h := res.Header
	if res.StatusCode != 101 || h.Get("Sec-WebSocket-Accept") == "" || h.Get("Sec-WebSocket-Protocol") != "a" || h.Get("X-A") != "b" ||
		!strings.EqualFold(h.Get("Upgrade"), "websocket") || !strings.EqualFold(h.Get("Connection"), "upgrade") ||
		h.Get("Strict-Transport-Security") != "max-age=3600" || h.Get("X-Reject-Reason") != "" || h.Get("Content-Length") != "" {
		t.Errorf("got %s, %v", res.Status, h)
	}
}
