package config

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"culvert/l4"
	"culvert/sniff"
)

// A route is an entry of routes. Each of its names becomes a route of its own
// in the data plane.
type route struct {
	names  []word
	alpn   []word
	target target
	proxy  l4.ProxyVersion // 0: as the pool says

	terminate *Terminate // nil: TLS passes through
}

func (d *decoder) routes(n ast.Node) []route {
	var all []route
	for _, e := range d.list(n, "routes") {
		all = append(all, d.route(e))
	}
	return all
}

func (d *decoder) route(n ast.Node) (r route) {
	keys := d.mapping(n, "a route", fields{
		"server_name": func(n ast.Node) { r.names = d.serverNames(n) },
		"alpn":        func(n ast.Node) { r.alpn = d.alpn(n) },
		"pool":        func(n ast.Node) { r.target = d.target(n) },
		"send_proxy":  func(n ast.Node) { r.proxy = d.sendProxy(n) },
		"terminate":   func(n ast.Node) { r.terminate = d.terminate(n) },
		"action":      func(n ast.Node) { r.target = target{action: actionOf(d.oneOf(n, wordReject, wordClose))} },
	})
	d.require(n, keys, "the route", "server_name")
	_, pool := keys["pool"]
	at, action := keys["action"]
	if pool && action {
		d.errorAt(at, "the route has both a pool and an action")
	}
	if action {
		d.ignored(keys, "on a route without a pool", []string{"send_proxy", "terminate"})
	}
	if r.terminate != nil && r.terminate.ACME != nil {
		d.checkACME(&r, keys["terminate"])
	}
	if !pool && !action && d.isMapping(n) {
		d.errorf(n, "the route has neither a pool nor an action")
	}
	return r
}

func (d *decoder) serverNames(n ast.Node) (names []word) {
	const want = `a server name ("chat.example.com", "*.example.com" or "~^regex$")`
	for _, w := range d.words(n, want) {
		if err := checkPattern(w.text); err != nil {
			d.errorAt(w.at, "found %s, expected %s: %v", quote(w.text), want, err)
			continue
		}
		names = append(names, w)
	}
	return names
}

// checkPattern says what is wrong with a route's pattern.
func checkPattern(pattern string) error {
	if expr, ok := strings.CutPrefix(pattern, "~"); ok {
		_, err := regexp.Compile(expr)
		return err
	}
	name := strings.TrimPrefix(pattern, "*.")
	switch {
	case sniff.IsIPLiteral(name):
		return errors.New("an IP address is never a server name (RFC 6066 section 3)")
	case pattern == "*":
		return errors.New(`a wildcard is "*." and a name, for every other name use "default:" of the listener`)
	case strings.Contains(name, "*"):
		return errors.New(`a wildcard is "*." and a name`)
	case strings.HasPrefix(name, "."):
		return fmt.Errorf("write %q for the names below, and the name itself separately", "*"+name)
	}
	if _, err := sniff.AppendName(nil, name); err != nil {
		return errors.New("not a host name in its ASCII form")
	}
	return nil
}

// samePattern returns what two patterns that match the same names share.
func samePattern(pattern string) string {
	if strings.HasPrefix(pattern, "~") {
		return pattern
	}
	star := pattern[:len(pattern)-len(strings.TrimPrefix(pattern, "*."))]
	norm, _ := sniff.AppendName([]byte(star), pattern[len(star):])
	return string(norm)
}

func (d *decoder) alpn(n ast.Node) (values []word) {
	seen := map[string]bool{}
	for _, w := range d.words(n, "an ALPN protocol, such as h2") {
		switch {
		case len(w.text) > 255:
			d.errorAt(w.at, "found %s, expected an ALPN protocol of at most 255 bytes (RFC 7301 section 3.1)", quote(w.text))
		case seen[w.text]:
			d.errorAt(w.at, "the protocol %s is given twice", quote(w.text))
		default:
			values = append(values, w)
		}
		seen[w.text] = true
	}
	return values
}
