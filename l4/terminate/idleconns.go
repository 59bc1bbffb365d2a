package terminate

import (
	"slices"
	"sync"
	"time"
)

// Limits of idle connections to servers.
const (
	maxIdlePerServer = 256 // as recommended by Mattermost's guide for clusters
	maxIdle          = 4 * maxIdlePerServer
	maxIdleTime      = 45 * time.Second // the server closes its end after 60 s
	sweepEvery       = 5 * time.Second
)

// connKey identifies the requests that may share a connection: those to the
// same server, verified by the same name, and, if the server is told whose
// connection it is, from the same client.
type connKey struct {
	server, address string
	tls             bool
	name            string // name that the server's certificate is verified against
	client          Client // with the ID of its connection: another client may have its address later
}

// idleConns are the idle connections to servers. It is safe for concurrent use;
// the zero value is empty.
type idleConns struct {
	mu    sync.Mutex
	free  map[connKey][]*serverConn // most recently used last
	n     int
	sweep *time.Timer // runs while there are idle connections
	over  bool
}

// take returns an idle connection that its server has neither closed nor sent
// anything on, or nil. The caller then owns it.
func (k *idleConns) take(key connKey) *serverConn {
	for {
		c := k.pop(key)
		if c == nil || time.Since(c.since) < maxIdleTime && c.quiet() {
			return c
		}
		c.abort()
	}
}

func (k *idleConns) pop(key connKey) *serverConn {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.free[key]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	k.set(key, list[:len(list)-1])
	k.n--
	return c
}

// put adds an idle connection, or closes it when its key has enough. When there
// are enough in total, it closes another one.
func (k *idleConns) put(key connKey, c *serverConn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.free[key]
	if k.over || len(list) >= maxIdlePerServer {
		c.abort()
		return
	}
	if k.n >= maxIdle {
		k.drop()
		list = k.free[key]
	}
	if k.free == nil {
		k.free = map[connKey][]*serverConn{}
	}
	c.since = time.Now()
	k.free[key] = append(list, c)
	k.n++
	if k.sweep == nil {
		k.sweep = time.AfterFunc(sweepEvery, k.prune)
	}
}

// drop closes the longest idle connection of some key.
func (k *idleConns) drop() {
	for key, list := range k.free {
		list[0].abort()
		k.set(key, slices.Delete(list, 0, 1))
		k.n--
		return
	}
}

// prune closes connections that have been idle for too long, and those that the
// server has closed.
func (k *idleConns) prune() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, list := range k.free {
		left := list[:0]
		for _, c := range list {
			if time.Since(c.since) < maxIdleTime && c.quiet() {
				left = append(left, c)
			} else {
				c.abort()
				k.n--
			}
		}
		clear(list[len(left):])
		k.set(key, left)
	}
	k.sweep = nil
	if k.n > 0 {
		k.sweep = time.AfterFunc(sweepEvery, k.prune)
	}
}

// close closes all connections. Those that are put later are closed at once.
func (k *idleConns) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, list := range k.free {
		for _, c := range list {
			c.abort()
		}
	}
	k.free, k.n, k.over = nil, 0, true
	if k.sweep != nil {
		k.sweep.Stop()
	}
}

func (k *idleConns) set(key connKey, list []*serverConn) {
	if len(list) == 0 {
		delete(k.free, key)
		return
	}
	k.free[key] = list
}
