package service

import (
	"context"
	"testing"
)

// TestClosingsEnd: a closing ends when another one of the same server begins,
// when it is called off, and with the service; not with that of another server.
func TestClosingsEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(c *closer, stop context.CancelFunc)
		ends bool
	}{
		{"nothing happens", func(*closer, context.CancelFunc) {}, false},
		{"another one begins", func(c *closer, _ context.CancelFunc) { c.begin("chat/a") }, true},
		{"one of another server begins", func(c *closer, _ context.CancelFunc) { c.begin("chat/b") }, false},
		{"it is called off", func(c *closer, _ context.CancelFunc) { c.end("chat/a") }, true},
		{"another server's is called off", func(c *closer, _ context.CancelFunc) { c.end("chat/b") }, false},
		{"the service ends", func(_ *closer, stop context.CancelFunc) { stop() }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base, stop := context.WithCancel(t.Context())
			defer stop()
			c := &closer{base: base}
			ctx, done := c.begin("chat/a")
			defer done()
			tt.do(c, stop)
			if got := ctx.Err() != nil; got != tt.ends {
				t.Errorf("ended %v, want %v", got, tt.ends)
			}
		})
	}
}
