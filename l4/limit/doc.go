// Package limit is the arithmetic of what a client may use, how much of it at
// once and how fast. It opens no socket, starts no goroutine and reads no
// clock: the time is an argument. What happens at a limit (wait, reject, try
// another server) is its caller's decision.
//
//   - [Count] is a number of things at once, [Limit] a Count with a maximum:
//     the connections of an engine and of a listener, the buffered bytes.
//   - [Prefixes] holds a value per client prefix, [PrefixLimit] a number per
//     client prefix with a maximum: the connections that wait for their hello.
//   - [Rate] is events a second, [Slots] gives them out.
//   - [Budget] lets a share of all events have another attempt: retries.
//
// The counts and slots of a server are fields of balancer.Server, made of
// Count and Slots: a pick reserves a place in the same step in which it
// chooses the server, and balancer.Pool.Adopt hands both on over a reload.
// Everything else that is counted is a field of l4.Engine or of what its loops
// share about a listener.
//
// Limits to come belong here: lists of prefixes to allow and deny beside
// Prefix in prefix.go, connections and new connections a second per client as
// values of Prefixes, and bandwidth, in bytes instead of events, beside Rate.
//
// All types but [Prefix] and [Rate], which are plain values, are safe for
// concurrent use, and must not be copied after their first use.
package limit
