package config

import (
	"net/netip"

	"github.com/goccy/go-yaml/ast"

	"culvert/l4"
)

// proxies reads proxy_protocol of a listener: whose PROXY headers are believed.
func (d *decoder) proxies(n ast.Node) (on bool, from []netip.Prefix) {
	if s := scalarOf(n); s.kind == boolean || s.text == "on" || s.text == "off" {
		return d.toggle(n), nil
	}
	const want = "the addresses or prefixes of proxies, such as 10.0.0.0/8"
	for _, w := range d.words(n, want) {
		p, ok := parsePrefix(w.text)
		if !ok {
			d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
		}
		from = append(from, p) // also a bad one: that there is one must not be reported as missing
	}
	return len(from) > 0, from
}

// parsePrefix reads an address or a prefix. Clients are never IPv4-mapped
// addresses, so neither is what they are held against.
func parsePrefix(text string) (p netip.Prefix, ok bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), a.Zone() == ""
	}
	p, err := netip.ParsePrefix(text)
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), err == nil
}

// checkProxies sees to it that nobody is believed by accident.
func (d *decoder) checkProxies(l *l4.Listener, keys, timeouts found) {
	at, ok := keys["proxy_protocol"]
	switch {
	case ok && l.Proxied && len(l.ProxyFrom) == 0 && l.Address.IsValid() && !l.Address.IsUnix():
		d.errorAt(at, `"proxy_protocol: on" is for unix sockets: here give the addresses of the proxies, or anybody could claim to be any client`)
	case ok && len(l.ProxyFrom) > 0 && l.Address.IsUnix():
		d.errorAt(at, `whoever connects to a unix socket has no address: write "proxy_protocol: on", and let the permissions of the socket say who may`)
	}
	if !l.Proxied {
		d.ignored(timeouts, `without "proxy_protocol"`, []string{"proxy_header"})
	}
}

// sendProxy reads which PROXY header servers get.
func (d *decoder) sendProxy(n ast.Node) l4.ProxyVersion {
	switch d.oneOf(n, "off", "v1", "v2") {
	case "v1":
		return l4.ProxyV1
	case "v2":
		return l4.ProxyV2
	}
	return l4.ProxyOff
}
