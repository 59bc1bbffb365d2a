package balancer

import (
	"fmt"
	"slices"
)

// A Policy names a way of picking a server. The zero value means
// [ClientAddress].
type Policy string

const (
	// ClientAddress is weighted rendezvous hashing of the client address
	// (Thaler and Ravishankar, "Using name-based mappings to increase hit
	// rates", 1998). Every instance with the same servers gives the same
	// result, and losing a server moves that server's clients only.
	ClientAddress Policy = "client-address"

	// Maglev looks the client address up in a table (Eisenbud et al.,
	// "Maglev: A fast and reliable software network load balancer", NSDI
	// 2016). A pick costs the same for any number of servers, and changing
	// the set of servers moves slightly more clients than it has to.
	Maglev Policy = "maglev"

	// NGINXHash maps clients as nginx's "hash $remote_addr consistent" does,
	// to the bit.
	NGINXHash Policy = "nginx-hash"

	// LeastConnections picks the fewest active connections per weight.
	LeastConnections Policy = "least-connections"

	// RandomTwo draws two servers by weight and picks the less loaded one.
	RandomTwo Policy = "random-two"

	// RoundRobin is nginx's smooth weighted round robin.
	RoundRobin Policy = "round-robin"
)

// Policies returns all policies, the default first.
func Policies() []Policy {
	return []Policy{ClientAddress, Maglev, NGINXHash, LeastConnections, RandomTwo, RoundRobin}
}

// hashes reports whether p maps a client address to a server.
func (p Policy) hashes() bool {
	return p == ClientAddress || p == Maglev || p == NGINXHash
}

// orDefault returns p, or the default if p is empty. It fails for an unknown
// policy.
func (p Policy) orDefault() (Policy, error) {
	if p == "" {
		return ClientAddress, nil
	}
	if !slices.Contains(Policies(), p) {
		return "", fmt.Errorf("unknown policy %q", p)
	}
	return p, nil
}
