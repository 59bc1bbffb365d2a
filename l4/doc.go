// Package l4 is the data plane: it accepts connections, reads their hello,
// routes them, finds each a server, and relays until both sides are done.
//
// The files follow a connection: listener.go, accept.go, hello.go, route.go
// (and table.go, which routes are looked up in), dial.go (search.go is what it
// looks for a server with, failover.go what it does when one fails), relay.go
// (copy.go and splice.go move the bytes, pending.go and pipes.go hold them),
// finish.go (lingering.go for what takes a moment longer), record.go.
//
// What they stand on: engine.go and loop.go (what runs), conn.go and slots.go (a
// connection and where it is kept), watch.go, wheel.go and deadline.go (events
// and time), housekeeping.go and mailbox.go (what a loop does besides), limits.go,
// capacity.go and pause.go (how much there may be; package limit counts it),
// drain.go (how it ends), config.go and stats.go (what goes in and what can be
// read), snapshot.go (the engine's own copy of what goes in).
//
// A connection belongs to one loop and only that loop's goroutine touches it.
// The package knows no configuration file and no HTTP: an Engine is given a
// Config, which it copies, and a few Hooks.
package l4
