package balancer_test

import (
	"fmt"
	"net/netip"
	"time"

	"culvert/balancer"
)

// threeServers returns a pool with the default policy, which always sends a
// client to the same server.
func threeServers() *balancer.Pool {
	p, err := balancer.New(balancer.Config{
		Name: "chat",
		Servers: []balancer.ServerConfig{
			{Name: "chat-1", Address: "10.0.0.11:443"},
			{Name: "chat-2", Address: "10.0.0.12:443"},
			{Name: "chat-3", Address: "10.0.0.13:443"},
		},
	})
	if err != nil {
		panic(err) // the Config above is invalid
	}
	return p
}

// The caller provides the clock: any monotonic duration.
var begun = time.Now()

func now() time.Duration { return time.Since(begun) }

func ExamplePool_Pick() {
	pool := threeServers()
	s := balancer.Selection{Client: netip.MustParseAddr("192.0.2.7")}
	server, err := pool.Pick(&s, now())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Release()
	fmt.Println(server.Name(), server.Address(), server.Active())
	// Output: chat-2 10.0.0.12:443 1
}

// To fail over, a connection picks again with the same Selection, which leaves
// out the servers already tried.
func ExamplePool_Pick_failOver() {
	pool := threeServers()
	dial := func(address string) bool { return address != "10.0.0.12:443" }

	s := balancer.Selection{Client: netip.MustParseAddr("192.0.2.7")}
	for {
		server, err := pool.Pick(&s, now())
		if err != nil {
			fmt.Println(err)
			return
		}
		if dial(server.Address()) {
			fmt.Println(server.Name(), "answers")
			server.Release() // when its connection ends
			return
		}
		fmt.Println(server.Name(), "does not answer")
		server.Release()
	}
	// Output:
	// chat-2 does not answer
	// chat-1 answers
}

// A new configuration needs a new Pool. It adopts the old one, which keeps the
// connection counts and the servers that are out of service.
func ExamplePool_Adopt() {
	old := threeServers()
	old.Servers()[1].Set(balancer.Drained, true, now())

	next := threeServers()
	next.Adopt(old)

	s := balancer.Selection{Client: netip.MustParseAddr("192.0.2.7")}
	server, err := next.Pick(&s, now())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Release()
	fmt.Println(server.Name(), "instead of a server that is", next.Servers()[1].Causes())
	// Output: chat-1 instead of a server that is drained
}
