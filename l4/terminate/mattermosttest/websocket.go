package mattermosttest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Limits of a WebSocket, as in Mattermost 9.9.
const (
	maxMessage = 8 << 10 // inbound, in bytes
	writeWait  = 30 * time.Second
)

// event is a message that no action asked for. The first is hello, as soon as
// the user is known.
type event struct {
	Event    string         `json:"event"`
	Data     map[string]any `json:"data"`
	Sequence int64          `json:"seq"`
}

// Action is what a client sends on a WebSocket. The server knows ping and
// authentication_challenge, whose data is the token.
type Action struct {
	Sequence int64          `json:"seq"` // above 0
	Action   string         `json:"action"`
	Data     map[string]any `json:"data,omitempty"`
}

// reply answers an Action.
type reply struct {
	Status   string         `json:"status"` // OK or FAIL
	Data     map[string]any `json:"data,omitempty"`
	Error    string         `json:"error,omitempty"` // unlike Mattermost, only the id
	Sequence int64          `json:"seq_reply"`
}

// Sockets is how many WebSockets are open.
func (m *Handler) Sockets() int { return int(m.open.Load()) }

// socket is an open WebSocket. It belongs to the goroutine that reads it.
type socket struct {
	node  *Handler
	conn  *websocket.Conn
	known bool // whether it is known who is there
	sent  int64
}

// websocket answers GET /api/v4/websocket.
func (m *Handler) websocket(w http.ResponseWriter, r *http.Request) {
	switch {
	case !asksUpgrade(r.Header):
		fail(w, refuse(http.StatusBadRequest, "api.web_socket.connect.upgrade.app_error"))
	case !m.originAllowed(r):
		fail(w, refuse(http.StatusForbidden, "api.web_socket.connect.check_origin.app_error"))
	case !m.openSocket():
		fail(w, refuse(http.StatusServiceUnavailable, "api.web_socket.connect.upgrade.app_error"))
	default:
		defer m.sockets.Done()
		defer m.open.Add(-1)
		m.serveSocket(w, r)
	}
}

// openSocket counts one more WebSocket unless the node is closed.
func (m *Handler) openSocket() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx.Err() != nil {
		return false
	}
	m.sockets.Add(1)
	m.open.Add(1)
	return true
}

// serveSocket lives until the client leaves, no pong has come for PongWait, or
// the node closes.
func (m *Handler) serveSocket(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(m.ctx)
	alive := time.AfterFunc(m.cfg.PongWait, cancel)
	defer alive.Stop()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // originAllowed has decided
		OnPongReceived:     func(context.Context, []byte) { alive.Reset(m.cfg.PongWait) },
	})
	if err != nil {
		cancel()
		return // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxMessage)
	var pings sync.WaitGroup
	pings.Go(func() { m.pingSocket(ctx, conn) })
	defer pings.Wait()
	defer cancel()
	s := &socket{node: m, conn: conn}
	if _, ok := m.currentUser(r); ok && s.hello(ctx) != nil {
		return
	}
	s.serve(ctx)
}

// pingSocket pings until ctx ends. That a pong is missing is for PongWait.
func (m *Handler) pingSocket(ctx context.Context, conn *websocket.Conn) {
	ticker := time.NewTicker(m.cfg.PingInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ctx, cancel := context.WithTimeout(ctx, writeWait)
			_ = conn.Ping(ctx)
			cancel()
		}
	}
}

// serve answers the client's actions until one of both has had enough.
func (s *socket) serve(ctx context.Context) {
	for {
		_, text, err := s.conn.Read(ctx)
		if err != nil {
			return
		}
		var a Action
		if json.Unmarshal(text, &a) != nil || s.handle(ctx, a) != nil {
			return
		}
	}
}

func (s *socket) handle(ctx context.Context, a Action) error {
	switch {
	case a.Action == "":
		return s.refuse(ctx, a, "api.web_socket_router.no_action.app_error")
	case a.Sequence <= 0:
		return s.refuse(ctx, a, "api.web_socket_router.bad_seq.app_error")
	case a.Action == "authentication_challenge":
		return s.challenge(ctx, a)
	case !s.known:
		return s.refuse(ctx, a, "api.web_socket_router.not_authenticated.app_error")
	case a.Action == "ping":
		return s.write(ctx, reply{Status: "OK", Sequence: a.Sequence, Data: map[string]any{
			"text": "pong", "version": s.node.version(), "node_id": s.node.cfg.Node,
			"server_time": s.node.cfg.Now().UnixMilli(),
		}})
	}
	return s.refuse(ctx, a, "api.web_socket_router.bad_action.app_error")
}

// challenge logs the socket in. A wrong token ends it.
func (s *socket) challenge(ctx context.Context, a Action) error {
	if s.known {
		return nil
	}
	token, _ := a.Data["token"].(string)
	if _, ok := s.node.userOf(token); !ok {
		return refuse(http.StatusUnauthorized, "api.web_socket_router.not_authenticated.app_error")
	}
	if err := s.hello(ctx); err != nil {
		return err
	}
	return s.write(ctx, reply{Status: "OK", Sequence: a.Sequence})
}

func (s *socket) hello(ctx context.Context) error {
	s.known = true
	e := event{Event: "hello", Sequence: s.sent, Data: map[string]any{
		"server_version": s.node.version(), "connection_id": newID(), "node_id": s.node.cfg.Node,
	}}
	s.sent++
	return s.write(ctx, e)
}

func (s *socket) refuse(ctx context.Context, a Action, id string) error {
	return s.write(ctx, reply{Status: "FAIL", Error: id, Sequence: a.Sequence})
}

func (s *socket) write(ctx context.Context, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, writeWait)
	defer cancel()
	return s.conn.Write(ctx, websocket.MessageText, text)
}

// asksUpgrade tells whether a handshake still has the pair of headers that
// proxies tend to drop.
func asksUpgrade(h http.Header) bool {
	connection := strings.Split(strings.ToLower(strings.Join(h.Values("Connection"), ",")), ",")
	return strings.EqualFold(h.Get("Upgrade"), "websocket") &&
		slices.ContainsFunc(connection, func(token string) bool { return strings.TrimSpace(token) == "upgrade" })
}

// originAllowed compares the Origin with SiteURL, or with the Host if SiteURL
// is blank. Clients that are no browsers send none.
func (m *Handler) originAllowed(r *http.Request) bool {
	from := r.Header.Get("Origin")
	allowed := strings.Fields(m.cfg.AllowCorsFrom)
	if from == "" || slices.Contains(allowed, "*") || slices.Contains(allowed, from) {
		return true
	}
	u, err := url.Parse(from)
	if err != nil {
		return false
	}
	if m.site == nil {
		return strings.EqualFold(u.Host, r.Host)
	}
	return strings.EqualFold(u.Host, m.site.Host) && strings.EqualFold(u.Scheme, m.site.Scheme)
}
