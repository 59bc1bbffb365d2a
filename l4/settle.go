package l4

import (
	"time"
)

// settleAfter is the age at which a connection is worth the calls that set
// the options of the server's socket, and what the client's did not inherit.
const settleAfter = time.Second

func (c *conn) settleAt() time.Duration {
	return c.start + time.Duration(c.connectAt)*time.Microsecond + settleAfter
}

// settle makes a connection ready for a long life.
func (l *loop) settle(c *conn) {
	c.old = true
	c.target().Settle(int(c.ends[server].fd), &c.pool.TCP)
	if !c.from.cfg.Address.IsUnix() {
		c.from.cfg.TCP.Spread(int(c.ends[client].fd))
	}
	l.schedule(c)
}
