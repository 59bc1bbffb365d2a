package l4

import (
	"sync"

	"culvert/balancer"
	"culvert/l4/limit"
	"culvert/l4/socket"
)

// catalog assigns an index to everything that is counted. A listener, route or
// server that comes back with a reload gets its old index, and no index is used
// twice, so that counters only grow. It grows with what reloads add.
type catalog struct {
	mu        sync.Mutex
	cfg       *Config // what is served now; the engine's own copy
	listeners map[string]*listenerState
	routes    map[routeRef]int
	servers   map[serverRef]int
}

// routeRef and serverRef identify what a counter's index stands for.
type routeRef struct{ listener, route, pool string }

type serverRef struct{ pool, server, address string }

// Key tells listeners apart: by address, those on a port of the kernel's
// choice also by name.
func (ln *Listener) Key() string {
	if !ln.Address.IsUnix() && ln.Address.AddrPort().Port() == 0 {
		return ln.Address.String() + " " + ln.Name
	}
	return ln.Address.String()
}

func newCatalog() catalog {
	return catalog{
		listeners: map[string]*listenerState{}, routes: map[routeRef]int{}, servers: map[serverRef]int{},
	}
}

// sizes are how many of each there are.
type sizes struct{ listeners, routes, servers int }

func (k *catalog) sizes() sizes { return sizes{len(k.listeners), len(k.routes), len(k.servers)} }

// enter assigns indexes to everything in cfg, a copy that no other engine has.
func (k *catalog) enter(cfg *Config) sizes {
	for _, p := range cfg.Pools() {
		k.enterPool(p)
	}
	for _, ln := range cfg.Listeners {
		k.enterListener(ln.Name).active.SetMax(int64(ln.MaxConnections))
		if ln.Table == nil {
			continue
		}
		for _, r := range ln.Table.Routes() {
			r.id = number(k.routes, ln.routeRef(r))
		}
	}
	return k.sizes()
}

func (k *catalog) enterPool(p *Pool) {
	p.ids, p.budget, p.dialer = nil, new(limit.Budget), NewDialer(p, ProxyInherit)
	for _, s := range p.Balancer.Servers() {
		p.ids = append(p.ids, number(k.servers, refOf(s)))
	}
}

// bound notes where the sockets of ln are, once they are to be used: a listener
// of a configuration that is refused must not be found here.
func (k *catalog) bound(ln *Listener, at socket.Addr) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.enterListener(ln.Name).addr = at
}

// enterListener returns the state of the listener with this name, which it keeps
// when it moves to another address.
func (k *catalog) enterListener(name string) *listenerState {
	if k.listeners[name] == nil {
		k.listeners[name] = &listenerState{id: len(k.listeners)}
	}
	return k.listeners[name]
}

// number returns the index of what, the next one if it is new.
func number[K comparable](known map[K]int, what K) int {
	id, ok := known[what]
	if !ok {
		id = len(known)
		known[what] = id
	}
	return id
}

func refOf(s *balancer.Server) serverRef { return serverRef{s.Pool().Name(), s.Name(), s.Address()} }

func (ln *Listener) routeRef(r *Route) routeRef {
	ref := routeRef{listener: ln.Name, route: r.Label()}
	if r.Pool != nil {
		ref.pool = r.Pool.Balancer.Name()
	}
	return ref
}
