package terminate

import (
	"slices"
	"sync"
	"time"
)

// Connections to servers that wait for the next request.
const (
	maxIdlePerServer = 256 // at most, as the guide for clusters has it
	maxIdle          = 4 * maxIdlePerServer
	maxIdleTime      = 45 * time.Second // the server closes its end after 60 s
	sweepEvery       = 5 * time.Second
)

// connKey says which requests may share a connection: those to one server,
// which has one certificate, and from one client where the server is told
// whose the connection is.
type connKey struct {
	server, address string
	tls             bool
	name            string // that the server's certificate is for
	client          Client // its connection's ID too: its address may be another's later
}

// idleConns are connections that are free. The zero value has none. It is safe
// for concurrent use.
type idleConns struct {
	mu    sync.Mutex
	free  map[connKey][]*serverConn // the one that was used last is last
	n     int
	sweep *time.Timer // runs while there are any
	over  bool
}

// take returns a connection that its server has left alone, or nil. It is the
// caller's.
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

// put keeps a connection, or closes it when there are enough for its key. When
// there are enough in all, another one goes.
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

// drop closes the connection that waits longest of some key.
func (k *idleConns) drop() {
	for key, list := range k.free {
		list[0].abort()
		k.set(key, slices.Delete(list, 0, 1))
		k.n--
		return
	}
}

// prune closes the connections that have waited too long, and those that their
// servers have closed.
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

// close closes all connections, and those that are put later.
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
