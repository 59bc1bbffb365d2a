package service

import (
	"context"
	"sync"
)

// closer keeps track of what closes the connections of a server at a pace, so
// that there is one such closing for each server.
type closer struct {
	base context.Context // all closings end with it

	mu       sync.Mutex
	closings map[string]*closing // by full name of the server
}

type closing struct{ stop context.CancelFunc }

func fullName(pool, server string) string { return pool + "/" + server }

// begin registers a closing of a server and stops one that is under way. done
// must be called when it has ended.
func (c *closer) begin(name string) (ctx context.Context, done func()) {
	ctx, stop := context.WithCancel(c.base)
	mine := &closing{stop}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.closings[name]; old != nil {
		old.stop()
	}
	if c.closings == nil {
		c.closings = map[string]*closing{}
	}
	c.closings[name] = mine
	return ctx, func() {
		stop()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closings[name] == mine {
			delete(c.closings, name)
		}
	}
}

// end stops the closing of a server, if there is one.
func (c *closer) end(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.closings[name]; old != nil {
		old.stop()
	}
}
