package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// reconfigure gives the running culvert another pool, and reloads.
func (r *runProcess) reconfigure(pool string) {
	r.t.Helper()
	text := fmt.Sprintf(`listeners:
  - address: "127.0.0.1:0"
    routes:
      - {server_name: chat.example.com, pool: chat}
pools:
  chat: %s
log: {access: %q}
admin: {address: "127.0.0.1:0", socket: %q}
`, pool, r.log, r.socket)
	if err := os.WriteFile(r.file, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.ask("reload")
}

// closes waits until conn was closed by the other side.
func closes(t *testing.T, conn interface{ Read([]byte) (int, error) }) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is not closed")
	}
}

// TestOnDownCloses: when the checks of a server fail its connections are
// closed, if the file says so; else they stay.
func TestOnDownCloses(t *testing.T) {
	for _, on := range []string{"keep", "close"} {
		t.Run(on, func(t *testing.T) {
			r := startRun(t, "")
			check := "health: {check: tcp, port: %d, interval: 50ms, fast_interval: 20ms, timeout: 50ms, fall: 1, rise: 1}"
			conn := r.dial()
			r.reconfigure(fmt.Sprintf(`{servers: [%q], sessions: {on_down: %s, within: 10ms}, %s}`, r.origin.address, on, fmt.Sprintf(check, 1)))
			r.expect(`msg="server is down"`)
			if on == "close" {
				closes(t, conn)
				r.expect(`msg="closed the connections of a server".* connections=1\n`)
				return
			}
			echo(t, conn)
		})
	}
}

// TestOnRemovedCloses: connections of a server that is in the file no more.
func TestOnRemovedCloses(t *testing.T) {
	for _, on := range []string{"keep", "close"} {
		t.Run(on, func(t *testing.T) {
			r := startRun(t, "")
			conn := r.dial()
			r.reconfigure(fmt.Sprintf(`{servers: ["127.0.0.1:1"], sessions: {on_removed: %s, within: 10ms}}`, on))
			if on == "close" {
				closes(t, conn)
				return
			}
			echo(t, conn)
		})
	}
}

// TestOnRemovedClosesThoseOfARoute: of a route that is in the file no more,
// though its pool and its server are.
func TestOnRemovedClosesThoseOfARoute(t *testing.T) {
	for _, on := range []string{"keep", "close"} {
		t.Run(on, func(t *testing.T) {
			r := startRun(t, "")
			r.reconfigure(fmt.Sprintf(`{servers: [%q], sessions: {on_removed: %s, within: 10ms}}`, r.origin.address, on))
			conn := r.dial()
			if out := r.ask("connections", "--route", "chat.example.com"); !strings.Contains(out, conn.LocalAddr().String()) {
				t.Errorf("the connection is not listed by its route:\n%s", out)
			}
			r.rewrite("server_name: chat.example.com", "server_name: other.example.com")
			r.ask("reload")
			if on == "close" {
				closes(t, conn)
				r.expect(`msg="closed the connections of a route".* connections=1\n`)
				return
			}
			echo(t, conn)
		})
	}
}

// TestRebalance: clients whose own server was away come back to it.
func TestRebalance(t *testing.T) {
	r := startRun(t, "")
	second := startEcho(t, r.origin.cert)
	pool := fmt.Sprintf(`{servers: [%q, %q], sessions: {rebalance: on, within: 10ms}}`, r.origin.address, second.address)
	r.reconfigure(pool)
	conn := r.dial()
	own := ""
	for _, a := range []string{r.origin.address, second.address} {
		if strings.Contains(r.ask("connections", "--server", a), conn.LocalAddr().String()) {
			own = a
		}
	}
	r.ask("drain", own, "--within", "10ms")
	closes(t, conn)
	away := r.dial() // the same address, and another server
	r.ask("undrain", own)
	closes(t, away)
	r.expect(`msg="brought clients back".* connections=1\n`)
	back := r.dial()
	if out := r.ask("connections", "--server", own); !strings.Contains(out, back.LocalAddr().String()) {
		t.Errorf("the client is not on its own server:\n%s", out)
	}
}
