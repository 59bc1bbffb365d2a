// Package l4 is the data plane: it accepts connections, reads their hello,
// routes them, finds each a server, and relays until both sides are done.
//
// The files follow a connection: accept.go, hello.go, route.go (and table.go,
// which the routes are looked up in), dial.go, relay.go (copy.go and splice.go
// move the bytes), finish.go, record.go. What they stand on is in conn.go (a
// connection and its phases), engine.go and loop.go (who runs them), watch.go
// and wheel.go (events and deadlines), chores.go (what a loop does for itself
// now and then), config.go (what an operator may set), limits.go, capacity.go and pipes.go (how much of
// everything there may be), counters.go and stats.go (what is counted).
//
// A connection belongs to one loop and only that loop's goroutine touches it.
// The package knows no configuration file and no HTTP: an Engine is given an
// immutable Config and a few Hooks.
package l4
