package l4_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"time"

	"culvert/balancer"
	"culvert/l4"
	"culvert/l4/socket"
)

// A TLS-passthrough load balancer: hellos for chat.example.com go to one of
// the servers of a pool, all others are rejected.
func Example() {
	origin := httptest.NewTLSServer(http.NotFoundHandler()) // in real life, on other machines
	defer origin.Close()

	engine, err := passthrough("127.0.0.1:0", "chat.example.com", origin.Listener.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"chat.example.com", "other.example.com"} {
		conn, err := tls.Dial("tcp", engine.Addrs()[0].String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			fmt.Println(name+":", err)
			continue
		}
		fmt.Println(name+":", tls.VersionName(conn.ConnectionState().Version))
		_ = conn.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	engine.Shutdown(ctx)
	// Output:
	// chat.example.com: TLS 1.3
	// other.example.com: remote error: tls: unrecognized name
}

// passthrough serves address. It decrypts nothing: servers see the clients' own
// bytes.
func passthrough(address, name string, servers ...string) (*l4.Engine, error) {
	pool := &l4.Pool{}
	cfg := balancer.Config{Name: name}
	for _, s := range servers {
		to, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, err
		}
		cfg.Servers = append(cfg.Servers, balancer.ServerConfig{Address: s})
		pool.Targets = append(pool.Targets, socket.NewTarget(socket.IP(to)))
	}
	var err error
	if pool.Balancer, err = balancer.New(cfg); err != nil {
		return nil, err
	}
	routes := []*l4.Route{{ServerName: name, Action: l4.Forward, Pool: pool}}
	table, err := l4.NewTable(routes, &l4.Route{Action: l4.Reject})
	if err != nil {
		return nil, err
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	listener := &l4.Listener{Name: "public", Address: socket.IP(at), Table: table}
	return l4.Start(&l4.Config{Listeners: []*l4.Listener{listener}}, l4.Hooks{})
}
