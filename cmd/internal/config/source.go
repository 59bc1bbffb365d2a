package config

import (
	"net/netip"

	"github.com/goccy/go-yaml/ast"
)

// wordClient makes connections come from the client's own address.
const wordClient = "client"

// sources reads where a pool's servers are dialed from.
func (d *decoder) sources(n ast.Node) (all []netip.Addr, transparent bool) {
	const want = "client, or the machine's own addresses, such as 10.0.0.5"
	words := d.words(n, want)
	if len(words) == 1 && words[0].text == wordClient {
		return nil, true
	}
	for _, w := range words {
		a, err := netip.ParseAddr(w.text)
		switch {
		case w.text == wordClient:
			d.errorAt(w.at, "found %s among addresses, expected it alone", quote(w.text))
		case err != nil || a.Zone() != "" || a.IsUnspecified() || a.IsMulticast():
			d.errorAt(w.at, "found %s, expected %s", quote(w.text), want)
		default:
			all = append(all, a.Unmap())
		}
	}
	return all, false
}

// Transparent reports whether a pool is dialed from its clients' addresses.
func (f *File) Transparent() bool {
	for _, p := range f.pools {
		if p.settings.Transparent {
			return true
		}
	}
	return false
}
