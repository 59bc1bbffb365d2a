package mattermosttest

import (
	"fmt"
	"testing"
)

func TestClientIP(t *testing.T) {
	both := []string{"X-Forwarded-For", "X-Real-IP"}
	for _, tt := range []struct {
		name    string
		trusted []string
		headers []string
		want    string
	}{
		{"none is trusted", nil, []string{"X-Forwarded-For", "10.0.0.1", "X-Real-IP", "10.0.0.2"}, "192.0.2.1"},
		{"none is sent", both, nil, "192.0.2.1"},
		{"the first element", both, []string{"X-Forwarded-For", "10.0.0.1, 10.0.0.9"}, "10.0.0.1"},
		{"the first header", both, []string{"X-Real-IP", "10.0.0.2", "X-Forwarded-For", "10.0.0.1"}, "10.0.0.1"},
		{"the first with an address", both, []string{"X-Forwarded-For", "unknown, 10.0.0.1", "X-Real-IP", "10.0.0.2"}, "10.0.0.2"},
		{"IPv6", both, []string{"X-Forwarded-For", "2001:db8::1"}, "2001:db8::1"},
		{"nothing of use", both, []string{"X-Forwarded-For", "unknown"}, "192.0.2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newNode(t, Config{TrustedProxyIPHeader: tt.trusted})
			send(t, m, "GET /", "", tt.headers...)
			check(t, "client", m.Requests()[0].ClientIP, tt.want)
		})
	}
}

func TestRequestsAreRecordedAndBounded(t *testing.T) {
	m := newNode(t, Config{Recorded: 3})
	check(t, "at first", len(m.Requests()), 0)
	for i := range 5 {
		send(t, m, fmt.Sprintf("GET /%%7E%d?q", i), "", "Host", "chat.example.com:8443", "X-Forwarded-Proto", "https", "X-A", "b")
	}
	got := m.Requests()
	check(t, "length", len(got), 3)
	for i, r := range got {
		check(t, "target", r.Target, fmt.Sprintf("/%%7E%d?q", i+2))
		check(t, "path", r.Path, fmt.Sprintf("/~%d", i+2))
		check(t, "method", r.Method, "GET")
		check(t, "host", r.Host, "chat.example.com:8443")
		check(t, "header", r.Header.Get("X-A"), "b")
		check(t, "https", r.HTTPS, true)
	}
	none := newNode(t, Config{Recorded: -1})
	send(t, none, "GET /", "")
	check(t, "none", len(none.Requests()), 0)
}

func TestDatabaseIsBounded(t *testing.T) {
	var m map[string]int
	for i := range 10 {
		put(&m, fmt.Sprint(i), i, 4)
	}
	check(t, "length", len(m), 4)
	check(t, "the newest", m["9"], 9)
}
