package l4

import (
	"sync"
	"sync/atomic"
)

// counters are one loop's share of the statistics, summed on scrape. The loop
// counts connections under a lock that only a scrape contends for, and bytes,
// which move far more often, without one.
type counters struct {
	mu       sync.Mutex
	accepts  []uint64            // by listener
	endings  []map[Ending]uint64 // by listener
	routes   []uint64            // by route
	servers  []serverCounters    // by server
	failures []map[Reason]uint64 // by server

	bytes []*serverBytes // by server
}

type serverCounters struct{ connections, failovers uint64 }

// serverBytes is a cache line, so that servers do not share one.
type serverBytes struct {
	flows [2]atomic.Uint64
	_     [48]byte
}

// grow makes room for what is new.
func (k *counters) grow(n sizes) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.accepts = longer(k.accepts, n.listeners)
	k.endings = longer(k.endings, n.listeners)
	k.routes = longer(k.routes, n.routes)
	k.servers = longer(k.servers, n.servers)
	k.failures = longer(k.failures, n.servers)
	for len(k.bytes) < n.servers {
		k.bytes = append(k.bytes, new(serverBytes))
	}
}

func longer[T any](s []T, n int) []T { return append(s, make([]T, n-len(s))...) }

func (k *counters) accepted(listener int) {
	k.mu.Lock()
	k.accepts[listener]++
	k.mu.Unlock()
}

func (k *counters) took(route int) {
	k.mu.Lock()
	k.routes[route]++
	k.mu.Unlock()
}

func (k *counters) ended(listener int, by Party, r Reason) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.endings[listener] == nil {
		k.endings[listener] = map[Ending]uint64{}
	}
	k.endings[listener][Ending{by, r}]++
}

// connected counts a connection that begins to relay, with the n bytes of its
// hello that went out.
func (k *counters) connected(c *conn, n int) {
	id := c.serverID()
	k.mu.Lock()
	k.servers[id].connections++
	k.mu.Unlock()
	k.bytes[id].flows[client].Add(uint64(n))
}

// failed counts an attempt that did not succeed.
func (k *counters) failed(c *conn, r Reason) {
	id := c.serverID()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failures[id] == nil {
		k.failures[id] = map[Reason]uint64{}
	}
	k.failures[id][r]++
}

// failedOver counts that another server follows the one with this id.
func (k *counters) failedOver(id int) {
	k.mu.Lock()
	k.servers[id].failovers++
	k.mu.Unlock()
}

// moved counts n bytes of flow f.
func (k *counters) moved(c *conn, f side, n int) {
	k.bytes[c.serverID()].flows[f].Add(uint64(n))
}
