package config

import (
	"github.com/goccy/go-yaml/ast"

	"culvert/balancer"
)

// A server is an entry of a pool's servers.
type server struct {
	at       place
	endpoint endpoint
	config   balancer.ServerConfig // Address as written, Name only if configured
}

// Bounds of a server's numbers; the weight is the balancer's.
const (
	mostWeight = 1<<16 - 1
	leastRate  = 0.01
	mostRate   = 1_000_000
)

func (d *decoder) servers(n ast.Node) []server {
	var all []server
	for _, e := range d.list(n, "servers") {
		if s := d.server(e); s.config.Address != "" {
			all = append(all, s)
		}
	}
	return all
}

// server reads an address, or a mapping with one.
func (d *decoder) server(n ast.Node) server {
	s := server{at: placeOf(n)}
	if !d.isMapping(n) {
		d.serverAddress(n, &s)
		return s
	}
	c := &s.config
	keys := d.mapping(n, "a server", fields{
		"address":   func(n ast.Node) { d.serverAddress(n, &s) },
		"name":      func(n ast.Node) { c.Name = d.name(n, "a name").text },
		"weight":    func(n ast.Node) { c.Weight = d.integer(n, 1, mostWeight) },
		"backup":    func(n ast.Node) { c.Backup = d.toggle(n) },
		"down":      func(n ast.Node) { c.Down = d.toggle(n) },
		"max_conns": func(n ast.Node) { c.MaxConns = d.integer(n, 1, mostConnections) },
		"max_rate":  func(n ast.Node) { c.MaxRate = d.decimal(n, leastRate, mostRate) },
		"max_wait":  func(n ast.Node) { c.MaxWait = d.duration(n, waitSpan) },
	})
	d.require(n, keys, "the server", "address")
	if !keys.any("max_rate") {
		d.ignored(keys, `without "max_rate"`, []string{"max_wait"})
	}
	if s.endpoint.srv {
		d.ignored(keys, "beside an SRV name: its records say which servers there are, and their weights and priorities", []string{"name", "weight", "backup"})
	}
	return s
}

func (d *decoder) serverAddress(n ast.Node, s *server) {
	const want = `a server's address ("10.0.0.1:443", "[2001:db8::1]:443", "host.example.com:443", "srv:_https._tcp.example.com" or "unix:/path")`
	w := d.word(n, want)
	if !w.set() {
		return
	}
	e, err := parseServer(w.text)
	if err != nil {
		d.errorAt(w.at, "found %s, expected %s: %v", quote(w.text), want, err)
		return
	}
	s.at, s.endpoint, s.config.Address = w.at, e, w.text
}
