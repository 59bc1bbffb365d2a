package main

import (
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Limits and intervals of the chat servers. A message is at most as large as
// Mattermost takes one.
const (
	chatMessageLimit  = 8 << 10
	chatPingInterval  = 30 * time.Second
	chatWriteTimeout  = 10 * time.Second
	chatHeaderTimeout = 10 * time.Second
	chatIdleTimeout   = time.Minute
	chatInbox         = 32 // messages that wait for one member
)

//go:embed demo_chat.html
var chatPage []byte

// chatBus carries messages between the members of all chat servers, as a
// cluster's gossip would.
type chatBus struct {
	mu      sync.Mutex // guards members
	members map[chan chatMessage]struct{}
}

// chatMessage is what a member receives.
type chatMessage struct {
	Server string `json:"server"` // the server it was sent on
	Text   string `json:"text"`
}

func newChatBus() *chatBus { return &chatBus{members: map[chan chatMessage]struct{}{}} }

// join returns the inbox of a new member.
func (b *chatBus) join() chan chatMessage {
	inbox := make(chan chatMessage, chatInbox)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.members[inbox] = struct{}{}
	return inbox
}

func (b *chatBus) leave(inbox chan chatMessage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.members, inbox)
}

// publish sends m to every member. Those whose inbox is full miss it.
func (b *chatBus) publish(m chatMessage) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for inbox := range b.members {
		select {
		case inbox <- m:
		default:
		}
	}
}

// chatServer is one member of the demo's cluster: a TLS server with HTTP/1.1,
// HTTP/2 and WebSocket that answers a little like Mattermost.
// Its methods are not for concurrent use.
type chatServer struct {
	name    string
	bus     *chatBus
	tls     *tls.Config
	address string
	run     *chatRun // nil while it does not run
}

// chatRun is what a chat server has from start to close.
type chatRun struct {
	http    *http.Server
	ctx     context.Context // ends with close; for WebSockets, which http.Server forgets
	cancel  context.CancelFunc
	sockets sync.WaitGroup // open WebSockets
	done    chan error
}

// startChat serves on a free loopback port until close.
func startChat(name string, cert tls.Certificate, bus *chatBus) (*chatServer, error) {
	s := &chatServer{
		name: name, bus: bus, address: "127.0.0.1:0",
		tls: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}
	return s, s.start()
}

// start serves until close, after a close on the same port again. It does
// nothing for a server that runs.
func (s *chatServer) start() error {
	if s.run != nil {
		return nil
	}
	ln, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.address = ln.Addr().String()
	run := &chatRun{done: make(chan error, 1)}
	run.ctx, run.cancel = context.WithCancel(context.Background())
	run.http = &http.Server{
		Handler:           s.handler(run),
		TLSConfig:         s.tls.Clone(),
		ReadHeaderTimeout: chatHeaderTimeout,
		IdleTimeout:       chatIdleTimeout,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	go func() { run.done <- run.http.ServeTLS(ln, "", "") }()
	s.run = run
	return nil
}

// close ends every connection, WebSockets included. It does nothing for a
// server that does not run.
func (s *chatServer) close() {
	if s.run == nil {
		return
	}
	s.run.cancel()
	_ = s.run.http.Close()
	s.run.sockets.Wait()
	<-s.run.done
	s.run = nil
}

func (s *chatServer) handler(run *chatRun) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /api/v4/system/ping", s.ping)
	mux.HandleFunc("GET /api/v4/websocket", func(w http.ResponseWriter, r *http.Request) { s.websocket(run, w, r) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", s.name)
		mux.ServeHTTP(w, r)
	})
}

func (s *chatServer) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(chatPage)
}

// ping answers as Mattermost does, strings only, with one key more that
// names the server.
func (s *chatServer) ping(w http.ResponseWriter, r *http.Request) {
	answer := map[string]string{
		"ActiveSearchBackend":  "database",
		"AndroidLatestVersion": "",
		"AndroidMinVersion":    "",
		"IosLatestVersion":     "",
		"IosMinVersion":        "",
		"node":                 s.name,
		"status":               "OK",
	}
	if r.URL.Query().Get("get_server_status") == "true" {
		for _, key := range []string{"database_status", "filestore_status", "status"} {
			answer[key] = "OK"
			w.Header().Set(key, "OK")
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// websocket serves one member: what it sends goes to all, and it is told
// first which server it reached.
func (s *chatServer) websocket(run *chatRun, w http.ResponseWriter, r *http.Request) {
	run.sockets.Add(1)
	defer run.sockets.Done()
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	conn.SetReadLimit(chatMessageLimit)
	inbox := s.bus.join()
	defer s.bus.leave(inbox)
	inbox <- chatMessage{Server: s.name, Text: "You are connected to " + s.name + "."}
	ctx, cancel := context.WithCancel(run.ctx)
	defer cancel()
	go func() {
		defer cancel()
		deliver(ctx, conn, inbox)
	}()
	s.receive(ctx, conn)
}

// receive publishes what the member sends until it leaves.
func (s *chatServer) receive(ctx context.Context, conn *websocket.Conn) {
	for {
		kind, text, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if kind == websocket.MessageText {
			s.bus.publish(chatMessage{Server: s.name, Text: string(text)})
		}
	}
}

// deliver writes the member's inbox, and a ping when its time has come, until
// ctx ends or the member does not take it.
func deliver(ctx context.Context, conn *websocket.Conn, inbox <-chan chatMessage) {
	ticker := time.NewTicker(chatPingInterval)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case m := <-inbox:
			err = writeMessage(ctx, conn, m)
		case <-ticker.C:
			err = ping(ctx, conn)
		}
		if err != nil {
			return
		}
	}
}

func writeMessage(ctx context.Context, conn *websocket.Conn, m chatMessage) error {
	ctx, cancel := context.WithTimeout(ctx, chatWriteTimeout)
	defer cancel()
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return conn.Write(ctx, websocket.MessageText, append(text, '\n')) // a line each, so that the bytes are readable
}

func ping(ctx context.Context, conn *websocket.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, chatWriteTimeout)
	defer cancel()
	return conn.Ping(ctx)
}
