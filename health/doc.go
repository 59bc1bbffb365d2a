// Package health finds out which servers of a pool can take connections: by
// probing them ([Watch]) and by what becomes of real connections ([Ejector]).
// What it finds it tells balancer.Server; who dials asks nobody else.
package health
