// Package health finds out which servers of a pool can take connections: by
// active probes ([Watch]) and by the outcome of real connections ([Ejector]).
// It stores the result in balancer.Server, which is all that a pick reads.
//
// It does not dial: a probe gets its connection from a [Dial] function.
package health
