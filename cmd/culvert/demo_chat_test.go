package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"

	"culvert/l4/authority"
)

func TestChatBusDropsForTheSlowOnly(t *testing.T) {
	bus := newChatBus()
	slow, quick := bus.join(), bus.join()
	for range chatInbox + 5 {
		bus.publish(chatMessage{Text: "x"})
		<-quick
	}
	if got := len(slow); got != chatInbox {
		t.Errorf("the slow member has %d messages, want %d", got, chatInbox)
	}
	bus.leave(slow)
	bus.publish(chatMessage{Text: "y"})
	if got := <-quick; got.Text != "y" {
		t.Errorf("got %+v", got)
	}
	if got := len(slow); got != chatInbox {
		t.Error("a member that left still receives")
	}
}

// runningChat is a chat server and who vouches for it.
func runningChat(t *testing.T) (*authority.CA, *chatServer) {
	t.Helper()
	ca, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.CertificateOf("chat-1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	s, err := startChat("chat-1", *cert, newChatBus())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return ca, s
}

func TestChatServerAnswers(t *testing.T) {
	ca, s := runningChat(t)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost"}}}
	defer client.CloseIdleConnections()
	tests := []struct {
		method, path string
		want         int
	}{
		{"GET", "/", 200},
		{"GET", "/api/v4/system/ping", 200},
		{"POST", "/api/v4/system/ping", 405},
		{"GET", "/api/v4/websocket", 426}, // without an upgrade
		{"GET", "/nothing", 404},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tt.method, "https://"+s.address+tt.path, strings.NewReader(""))
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != tt.want {
				t.Errorf("status %d, want %d", res.StatusCode, tt.want)
			}
			if got := res.Header.Get("X-Served-By"); got != "chat-1" {
				t.Errorf("X-Served-By: %q", got)
			}
		})
	}
}

func TestChatServerStartsAgainWhereItWas(t *testing.T) {
	_, s := runningChat(t)
	first := s.address
	for range 2 { // the second time there is nothing to do
		s.close()
	}
	if conn, err := net.Dial("tcp", first); err == nil {
		conn.Close()
		t.Error("a stopped server accepts")
	}
	for range 2 {
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
	}
	if s.address != first {
		t.Errorf("started at %s, was at %s", s.address, first)
	}
	conn, err := net.Dial("tcp", first)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
