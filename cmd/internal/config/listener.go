package config

import (
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"culvert/l4"
)

// A listener is an entry of listeners: what the data plane takes as it is,
// and pools that are still names.
type listener struct {
	at        place
	address   word
	name      word
	settings  l4.Listener // without Table, Pool and Plaintext
	routes    []route
	fallback  target // default
	plaintext target
	pool      target // plain TCP
	redirect  int    // answers plain HTTP: the port that https is on; 0: does not
}

// A target is an action, or a pool by name. The zero target was not set.
type target struct {
	action l4.Action
	pool   word
	others []string // words that could stand instead of the pool
}

const (
	wordReject = "reject"
	wordClose  = "close"

	listenerTimeouts = "a listener's timeouts"

	mostBacklog = 1 << 20
	leastHello  = 1 * kib
	mostHello   = 1 * mib
)

func (d *decoder) listeners(n ast.Node) []*listener {
	var all []*listener
	for _, e := range d.list(n, "listeners") {
		all = append(all, d.listener(e))
	}
	return all
}

func (d *decoder) listener(n ast.Node) *listener {
	l := &listener{at: placeOf(n), fallback: target{action: l4.Reject}}
	s := &l.settings
	var timeouts found
	keys := d.mapping(n, "a listener", fields{
		"address":         func(n ast.Node) { l.address, s.Address = d.listenAddress(n) },
		"name":            func(n ast.Node) { l.name = d.name(n, "a name") },
		"routes":          func(n ast.Node) { l.routes = d.routes(n) },
		"default":         func(n ast.Node) { l.fallback = d.target(n, wordReject, wordClose) },
		"plaintext":       func(n ast.Node) { l.plaintext = d.target(n, wordClose) },
		"pool":            func(n ast.Node) { l.pool = d.target(n) },
		"max_connections": func(n ast.Node) { s.MaxConnections = d.integer(n, 1, mostConnections) },
		"max_hello":       func(n ast.Node) { s.MaxHello = int(d.size(n, leastHello, mostHello)) },
		"backlog":         func(n ast.Node) { s.Backlog = d.integer(n, 1, mostBacklog) },
		"half_close":      func(n ast.Node) { s.Session.KeepHalfClose = d.halfClose(n) },
		"timeouts":        func(n ast.Node) { timeouts = d.listenerTimeouts(n, s) },
		"tcp":             func(n ast.Node) { s.TCP = d.tcp(n) },
		"redirect":        func(n ast.Node) { l.redirect = d.redirect(n) },
		"proxy_protocol":  func(n ast.Node) { s.Proxied, s.ProxyFrom = d.proxies(n) },
	})
	d.require(n, keys, "the listener", "address")
	d.checkProxies(s, keys, timeouts)
	d.checkPlain(n, keys, timeouts)
	if !l.name.set() {
		l.name = l.address
	}
	s.Name = l.name.text
	return l
}

func (d *decoder) listenerTimeouts(n ast.Node, l *l4.Listener) found {
	all := d.sessionTimeouts(&l.Session)
	all["hello"] = func(n ast.Node) { l.HelloTimeout = d.duration(n, offSpan) }
	all["proxy_header"] = func(n ast.Node) { l.ProxyTimeout = d.duration(n, offSpan) }
	return d.mapping(n, listenerTimeouts, all)
}

// checkPlain keeps apart listeners that read the hello and those that are
// plain TCP: of a plain one's keys none may be without effect.
func (d *decoder) checkPlain(n ast.Node, keys, timeouts found) {
	if keys.any("redirect") {
		d.ignored(keys, `beside "redirect"`, []string{"pool", "routes", "default", "plaintext", "max_hello", "half_close"})
		return
	}
	_, plain := keys["pool"]
	_, routes := keys["routes"]
	_, fallback := keys["default"]
	if !plain {
		if !routes && !fallback && d.isMapping(n) {
			d.errorf(n, "the listener has neither routes nor a default nor a pool")
		}
		return
	}
	for _, key := range []string{"routes", "default", "plaintext", "max_hello"} {
		if at, ok := keys[key]; ok {
			d.errorAt(at, "%q has no effect beside \"pool\": such a listener is plain TCP and reads no hello", key)
		}
	}
	if at, ok := timeouts["hello"]; ok {
		d.errorAt(at, "%q has no effect beside \"pool\": such a listener is plain TCP and reads no hello", "hello")
	}
}

// target reads the name of a pool, or one of the words that are an action.
func (d *decoder) target(n ast.Node, actions ...string) target {
	want := list(append(slices.Clone(actions), "the name of a pool"))
	w := d.word(n, want)
	switch {
	case slices.Contains(actions, w.text):
		return target{action: actionOf(w.text)}
	case w.text == wordReject, w.text == wordClose: // no pool has such a name
		d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
		return target{}
	}
	return target{pool: w, others: actions}
}

func actionOf(word string) l4.Action {
	if word == wordClose {
		return l4.Close
	}
	return l4.Reject
}

// redirect reads where https is: the word, or with another port.
func (d *decoder) redirect(n ast.Node) int {
	const want = "https, or https and a port, such as https:8443"
	w := d.word(n, want)
	if w.text == "https" {
		return 443
	}
	text, ok := strings.CutPrefix(w.text, "https:")
	port, err := strconv.ParseUint(text, 10, 16)
	if w.set() && (!ok || err != nil || port == 0) {
		d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
	}
	return int(port)
}
