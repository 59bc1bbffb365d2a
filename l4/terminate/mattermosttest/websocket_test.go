package mattermosttest

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// socketTest is a node on a listener and a user's token.
type socketTest struct {
	node  *Node
	token string
	ctx   context.Context
}

func newSocketTest(t *testing.T, cfg Config) *socketTest {
	t.Helper()
	cfg.Database, cfg.Node = people(), "one"
	node, err := NewNode(cfg, ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	login := send(t, node, "POST /api/v4/users/login", `{"login_id":"jane","password":"jane's"}`)
	return &socketTest{node, login.Header.Get("Token"), ctx}
}

// dial opens a WebSocket with the headers.
func (s *socketTest) dial(t *testing.T, path string, h http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	conn, resp, err := websocket.Dial(s.ctx, s.node.URL()+path, &websocket.DialOptions{HTTPHeader: h, Host: "chat.example.com"})
	if err == nil {
		t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, resp, err
}

// open opens a WebSocket that is logged in and reads its hello.
func (s *socketTest) open(t *testing.T) *websocket.Conn {
	t.Helper()
	conn, _, err := s.dial(t, "/api/v4/websocket", http.Header{"Cookie": {"MMAUTHTOKEN=" + s.token}})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "hello", s.read(t, conn)["event"], any("hello"))
	return conn
}

func (s *socketTest) read(t *testing.T, conn *websocket.Conn) (message map[string]any) {
	t.Helper()
	_, text, err := conn.Read(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &message); err != nil {
		t.Fatal(err)
	}
	return message
}

func (s *socketTest) write(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	if err := conn.Write(s.ctx, websocket.MessageText, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestWebSocketByCookie(t *testing.T) {
	s := newSocketTest(t, Config{})
	conn, resp, err := s.dial(t, "/api/v4/websocket", http.Header{"Cookie": {"MMAUTHTOKEN=" + s.token}})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "node", resp.Header.Get(NodeHeader), "one")
	hello := s.read(t, conn)
	check(t, "event", hello["event"], any("hello"))
	check(t, "sequence", hello["seq"], any(0.0))
	check(t, "sockets", s.node.Sockets(), 1)
	for seq := range 3 {
		text, _ := json.Marshal(Action{Sequence: int64(seq + 1), Action: "ping"})
		s.write(t, conn, string(text))
		reply := s.read(t, conn)
		check(t, "status", reply["status"], any("OK"))
		check(t, "seq_reply", reply["seq_reply"], any(float64(seq+1)))
		data, _ := reply["data"].(map[string]any)
		check(t, "text", data["text"], any("pong"))
		check(t, "node", data["node_id"], any("one"))
	}
}

func TestWebSocketChallenge(t *testing.T) {
	s := newSocketTest(t, Config{})
	conn, _, err := s.dial(t, "/api/v4/websocket/", nil) // the slash is allowed
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, conn, `{"seq":1,"action":"ping"}`)
	check(t, "before", s.read(t, conn)["error"], any("api.web_socket_router.not_authenticated.app_error"))
	s.write(t, conn, `{"seq":2,"action":"authentication_challenge","data":{"token":"`+s.token+`"}}`)
	check(t, "hello", s.read(t, conn)["event"], any("hello"))
	check(t, "reply", s.read(t, conn)["seq_reply"], any(2.0))
	s.write(t, conn, `{"seq":3,"action":"ping"}`)
	check(t, "after", s.read(t, conn)["status"], any("OK"))
}

func TestWebSocketThatIsWrongEnds(t *testing.T) {
	for _, text := range []string{`{"seq":1,"action":"authentication_challenge","data":{"token":"x"}}`, `{"seq":1,"action":"authentication_challenge"}`, "x"} {
		s := newSocketTest(t, Config{})
		conn, _, err := s.dial(t, "/api/v4/websocket", nil)
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, conn, text)
		if _, got, err := conn.Read(s.ctx); err == nil || s.ctx.Err() != nil {
			t.Errorf("%s: got %q and %v, want an end", text, got, err)
		}
	}
}

func TestWebSocketRefusesActions(t *testing.T) {
	s := newSocketTest(t, Config{})
	conn := s.open(t)
	for text, want := range map[string]string{
		`{"seq":1}`:                  "api.web_socket_router.no_action.app_error",
		`{"action":"ping"}`:          "api.web_socket_router.bad_seq.app_error",
		`{"seq":1,"action":"dance"}`: "api.web_socket_router.bad_action.app_error",
	} {
		s.write(t, conn, text)
		check(t, text, s.read(t, conn)["error"], any(want))
	}
}

func TestWebSocketOrigin(t *testing.T) {
	const site = "https://chat.example.com/mattermost"
	for _, tt := range []struct {
		name, site, cors, origin string
		status                   int
	}{
		{"none", site, "", "", 101},
		{"the site's", site, "", "https://chat.example.com", 101},
		{"in another case", site, "", "https://CHAT.example.com", 101},
		{"another scheme", site, "", "http://chat.example.com", 403},
		{"another port", site, "", "https://chat.example.com:8443", 403},
		{"another host", site, "", "https://evil.example", 403},
		{"null", site, "", "null", 403},
		{"no URL", site, "", "%", 403},
		{"listed", site, "https://a.example https://b.example", "https://b.example", 101},
		{"not listed", site, "https://a.example", "https://b.example", 403},
		{"the site's beside a list", site, "https://a.example", "https://chat.example.com", 101},
		{"all", site, "*", "https://evil.example", 101},
		{"blank SiteURL, the Host's", "", "", "http://chat.example.com", 101},
		{"blank SiteURL, another host", "", "", "http://other.example", 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			node, err := NewNode(Config{SiteURL: tt.site, AllowCorsFrom: tt.cors}, ServerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(node.Close)
			s := &socketTest{node: node, ctx: t.Context()}
			h := http.Header{}
			if tt.origin != "" {
				h.Set("Origin", tt.origin)
			}
			path := "/api/v4/websocket"
			if tt.site != "" {
				path = "/mattermost" + path
			}
			_, resp, _ := s.dial(t, path, h)
			check(t, "status", resp.StatusCode, tt.status)
		})
	}
}

func TestWebSocketNeedsItsHeaders(t *testing.T) {
	m := newNode(t, Config{})
	for name, headers := range map[string][]string{
		"neither":       nil,
		"no Upgrade":    {"Connection", "Upgrade"},
		"no Connection": {"Upgrade", "websocket"},
		"another":       {"Connection", "keep-alive", "Upgrade", "websocket"},
	} {
		check(t, name, send(t, m, "GET /api/v4/websocket", "", headers...).StatusCode, http.StatusBadRequest)
	}
	check(t, "HEAD", send(t, m, "HEAD /api/v4/websocket", "", "Connection", "Upgrade", "Upgrade", "websocket").StatusCode, http.StatusNotFound)
}

func TestWebSocketMessageLimit(t *testing.T) {
	message := func(size int) string {
		const frame = `{"seq":1,"action":"ping","data":{"x":""}}`
		return strings.Replace(frame, `""`, `"`+strings.Repeat("x", size-len(frame))+`"`, 1)
	}
	s := newSocketTest(t, Config{})
	conn := s.open(t)
	s.write(t, conn, message(8192))
	check(t, "at the limit", s.read(t, conn)["status"], any("OK"))
	s.write(t, conn, message(8193))
	if _, got, err := conn.Read(s.ctx); err == nil || s.ctx.Err() != nil {
		t.Errorf("above it: got %q and %v, want an end", got, err)
	}
}

func TestWebSocketIsPinged(t *testing.T) {
	s := newSocketTest(t, Config{PingInterval: time.Millisecond})
	pinged := make(chan struct{}, 100)
	conn, _, err := websocket.Dial(s.ctx, s.node.URL()+"/api/v4/websocket", &websocket.DialOptions{
		OnPingReceived: func(context.Context, []byte) bool {
			select {
			case pinged <- struct{}{}:
			default:
			}
			return true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	ctx := conn.CloseRead(s.ctx)
	for range 3 {
		select {
		case <-pinged:
		case <-ctx.Done():
			t.Fatal("the WebSocket ended before its third ping")
		}
	}
}

// TestWebSocketPongWait has a client that pongs outlive one that does not. The
// first lives for many pong waits, which the number of its pongs shows.
func TestWebSocketPongWait(t *testing.T) {
	s := newSocketTest(t, Config{PingInterval: 10 * time.Millisecond, PongWait: time.Second})
	dial := func(pong func() bool) *websocket.Conn {
		conn, _, err := websocket.Dial(s.ctx, s.node.URL()+"/api/v4/websocket", &websocket.DialOptions{
			OnPingReceived: func(context.Context, []byte) bool { return pong() },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.CloseNow() })
		return conn
	}
	var pongs int
	enough := make(chan struct{})
	alive := dial(func() bool {
		if pongs++; pongs == 150 { // takes one and a half pong waits at least
			close(enough)
		}
		return true
	}).CloseRead(s.ctx)
	silent := dial(func() bool { return false })
	if _, _, err := silent.Read(s.ctx); err == nil || s.ctx.Err() != nil {
		t.Errorf("without pongs: got %v, want an end", err)
	}
	select {
	case <-enough:
	case <-alive.Done():
		t.Error("with pongs: the WebSocket ended")
	}
}

func TestCloseEndsWebSockets(t *testing.T) {
	s := newSocketTest(t, Config{})
	conn := s.open(t)
	s.node.Handler.Close()
	check(t, "sockets", s.node.Sockets(), 0)
	if _, _, err := conn.Read(s.ctx); err == nil || s.ctx.Err() != nil {
		t.Errorf("after Close: got %v, want an end", err)
	}
	_, resp, err := s.dial(t, "/api/v4/websocket", nil)
	if err == nil {
		t.Fatal("a closed node accepts a WebSocket")
	}
	check(t, "status", resp.StatusCode, http.StatusServiceUnavailable)
}
