package config

import (
	"github.com/goccy/go-yaml/ast"

	"culvert/l4"
	"culvert/l4/socket"
)

// What listeners and pools have in common: timeouts of a session, half-close
// and TCP options. A pool's settings win over its listener's.

// sessionTimeouts returns the fields of timeouts that a listener and a pool
// share.
func (d *decoder) sessionTimeouts(s *l4.Session) fields {
	return fields{
		"idle":       func(n ast.Node) { s.IdleTimeout = d.duration(n, offSpan) },
		"half_close": func(n ast.Node) { s.HalfCloseTimeout = d.duration(n, offSpan) },
		"lifetime":   func(n ast.Node) { s.Lifetime = d.duration(n, offSpan) },
	}
}

// halfClose reads half_close.
func (d *decoder) halfClose(n ast.Node) l4.Switch {
	if d.toggle(n) {
		return l4.SwitchOn
	}
	return l4.SwitchOff
}

func (d *decoder) tcp(n ast.Node) (o socket.Options) {
	d.mapping(n, "tcp", fields{
		"user_timeout": func(n ast.Node) { o.UserTimeout = d.duration(n, userSpan) },
		"keepalive":    func(n ast.Node) { d.keepalive(n, &o) },
	})
	return o
}

// keepalive reads off, or the three numbers of tcp(7).
func (d *decoder) keepalive(n ast.Node, o *socket.Options) {
	if s := scalarOf(n); s.kind != notScalar {
		o.KeepaliveIdle = l4.Off
		if s.text != "off" {
			d.errorf(n, "found %s, expected off or a mapping with idle, interval and count", describe(n))
		}
		return
	}
	d.mapping(n, "keepalive", fields{
		"idle":     func(n ast.Node) { o.KeepaliveIdle = d.duration(n, keepaliveSpan) },
		"interval": func(n ast.Node) { o.KeepaliveInterval = d.duration(n, keepaliveSpan) },
		"count":    func(n ast.Node) { o.KeepaliveCount = d.integer(n, 1, maxKeepaliveCount) },
	})
}

// maxKeepaliveCount is MAX_TCP_KEEPCNT of linux/tcp.h.
const maxKeepaliveCount = 127
