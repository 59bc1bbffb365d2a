package service_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"culvert/cmd/internal/config"
	"culvert/cmd/internal/service"
)

// greeter is a server that says its name to every client.
func greeter(t testing.TB, name string) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, name)
			_ = c.Close()
		}
	}()
	return ln.Addr().String()
}

// ask returns what a client of address is told.
func ask(t testing.TB, address string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestServiceServesAndReplacesAConfiguration: a configuration that was made in
// Go code is served, and another one replaces it on the same listener.
func TestServiceServesAndReplacesAConfiguration(t *testing.T) {
	s, err := service.Start(plain(greeter(t, "one")), service.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	address := s.Addrs()[0].String()
	if got := ask(t, address); got != "one" {
		t.Errorf("got %q, want one", got)
	}
	if err := s.Replace(plain(greeter(t, "two"))); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, address); got != "two" {
		t.Errorf("after the replacement: got %q, want two", got)
	}
	if got := s.Status(); len(got.Pools) != 1 || len(got.Listeners) != 1 || got.Listeners[0].Accepted != 2 {
		t.Errorf("the status has %+v", got)
	}
}

// TestReplaceThatFailsChangesNothing: an address that cannot be bound leaves the
// service as it was, with its listeners where they were.
func TestReplaceThatFailsChangesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s, err := service.Start(plain(greeter(t, "one")), service.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	address := s.Addrs()[0]
	if err := s.Replace(plainAt(taken.Addr().String(), greeter(t, "two"))); err == nil {
		t.Error("an address that is in use was accepted")
	}
	if got := s.Addrs()[0]; got != address {
		t.Errorf("the listener is at %s, want %s", got, address)
	}
	if got := ask(t, address.String()); got != "one" {
		t.Errorf("got %q, want one", got)
	}
}

// TestDrainWaitsForConnections: Drain ends with the last connection, and after
// it changes are refused.
func TestDrainWaitsForConnections(t *testing.T) {
	s, err := service.Start(plain(greeter(t, "one")), service.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ask(t, s.Addrs()[0].String())
	if closed, err := s.Drain(context.Background()); closed != 0 || err != nil {
		t.Errorf("closed %d connections, %v", closed, err)
	}
	if err := s.Replace(plain("127.0.0.1:1")); err != service.ErrDraining {
		t.Errorf("a change after the drain: %v, want %v", err, service.ErrDraining)
	}
	if err := s.Upgrade(); err != service.ErrDraining {
		t.Errorf("an upgrade after the drain: %v, want %v", err, service.ErrDraining)
	}
}

// plain is a plain TCP listener with one server. It is made in Go code, without
// a file: this is what a controller does.
func plain(server string) *config.Config { return plainAt("127.0.0.1:0", server) }

func plainAt(address, server string) *config.Config {
	return &config.Config{
		Listeners: []*config.Listener{{Name: "plain", Address: address, Pool: config.To("p")}},
		Pools:     []*config.Pool{{Name: "p", Servers: []*config.Server{{Address: server}}}},
		Log:       config.Log{Access: "off"},
	}
}

// TestServiceRefusesWhatIsWrong: a configuration with mistakes is not served,
// and says what they are without a file to point at.
func TestServiceRefusesWhatIsWrong(t *testing.T) {
	c := plain("10.0.0.1:443")
	c.Listeners[0].Pool = config.To("q")
	if _, err := service.Start(c, service.Options{}); err == nil || err.Error() != `listener plain: there is no pool "q"` {
		t.Errorf("got %v", err)
	}
}

// Example serves a configuration that was made in Go code, replaces it, and
// ends, as a controller does.
func Example() {
	c := &config.Config{
		Listeners: []*config.Listener{{Name: "public", Address: "127.0.0.1:0", Default: config.To("chat")}},
		Pools:     []*config.Pool{{Name: "chat", Servers: []*config.Server{{Address: "127.0.0.1:8443"}}}},
		Log:       config.Log{Access: "off"},
	}
	s, err := service.Start(c, service.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	fmt.Println(s.Status().Pools[0].Servers[0].Name)

	next := *c
	next.Pools = []*config.Pool{{Name: "chat", Servers: []*config.Server{{Address: "127.0.0.1:8444"}}}}
	if err := s.Replace(&next); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(s.Status().Pools[0].Servers[0].Name)
	// Output:
	// 127.0.0.1:8443
	// 127.0.0.1:8444
}
