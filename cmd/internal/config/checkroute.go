package config

import (
	"slices"
	"strings"

	"culvert/l4"
)

func contains(all []string, text string) bool { return slices.Contains(all, text) }

func (k *checker) route(r *Route) {
	k.in(partOf("route", strings.Join(values(r.ServerNames), ",")), func() {
		k.require(&r.Source, len(r.ServerNames) > 0, "the route", "server_name")
		k.patterns(r)
		k.alpn(r)
		bounded{k, &r.Source}.enumerated("send_proxy", r.SendProxy, r.SendProxy <= l4.ProxyV2)
		k.routeTarget(r)
		if r.Terminate != nil {
			k.terminate(r.Terminate)
			k.acmeRoute(r)
		}
	})
}

func (k *checker) patterns(r *Route) {
	const want = `a server name ("chat.example.com", "*.example.com" or "~^regex$")`
	for _, name := range r.ServerNames {
		if err := checkPattern(name.Value); err != nil {
			k.wrong(name.orAt(&r.Source, "server_name"), name.Value, want+": "+err.Error())
		}
	}
}

// orAt returns the position of t, or of the key's value when it has none.
func (t *Text) orAt(s *Source, key string) Position {
	if t.IsValid() {
		return t.Position
	}
	return s.ValueAt(key)
}

func (k *checker) alpn(r *Route) {
	seen := map[string]bool{}
	for _, p := range r.ALPN {
		at := p.orAt(&r.Source, "alpn")
		switch {
		case p.Value == "":
			k.errorAt(at, "found an empty text, expected an ALPN protocol, such as h2")
		case len(p.Value) > 255:
			k.wrong(at, p.Value, "an ALPN protocol of at most 255 bytes (RFC 7301 section 3.1)")
		case seen[p.Value]:
			k.errorAt(at, "the protocol %s is given twice", Quote(p.Value))
		}
		seen[p.Value] = true
	}
}

func (k *checker) routeTarget(r *Route) {
	both := r.Has("pool") && r.Has("action")
	pool, action := r.Target.Action == ToPool, r.Target.Action != ToPool && r.Target.isSet()
	switch {
	case both:
		k.errorAt(r.At("action"), "the route has both a pool and an action")
	case action && r.Has("pool"): // a word that is not a pool
		k.target(&r.Source, "pool", &r.Target)
		return
	case pool:
		k.target(&r.Source, "pool", &r.Target)
	case action:
		k.target(&r.Source, "action", &r.Target, wordReject, wordClose)
	case !r.Has("pool", "action"):
		k.errorAt(r.Position, "the route has neither a pool nor an action")
	}
	if action || r.Has("action") {
		k.ignored(&r.Source, "on a route without a pool", []use{{"send_proxy", r.SendProxy != l4.ProxyInherit}, {"terminate", r.Terminate != nil}})
	}
}

// acmeRoute checks that an authority can give a certificate for each name of a
// route, and see that it is served here.
func (k *checker) acmeRoute(r *Route) {
	if r.Terminate.ACME == nil {
		return
	}
	for _, name := range r.validNames() {
		if !isWhole(name.Value) {
			k.errorAt(name.orAt(&r.Source, "server_name"), "acme gets certificates for whole names only, not for %s", Quote(name.Value))
		}
	}
	if len(r.ALPN) > 0 {
		k.errorAt(r.At("terminate"), `acme cannot be proven on a route with "alpn": the authority offers acme-tls/1`)
	}
}

func isWhole(pattern string) bool {
	return !strings.HasPrefix(pattern, "~") && !strings.HasPrefix(pattern, "*.")
}

// validNames returns the server names that are patterns.
func (r *Route) validNames() []Text {
	var all []Text
	for _, name := range r.ServerNames {
		if checkPattern(name.Value) == nil {
			all = append(all, name)
		}
	}
	return all
}

// conditions returns the ALPN protocols that the route asks for, each once, or
// one empty text when it does not ask.
func (r *Route) conditions() []string {
	if len(r.ALPN) == 0 {
		return []string{""}
	}
	var all []string
	for _, p := range r.ALPN {
		if !contains(all, p.Value) {
			all = append(all, p.Value)
		}
	}
	return all
}
