package peer

import (
	"os"
	"testing"
)

// TestIdleConnectionsToTheLimit opens as many connections as the descriptors of
// this process allow. The process holds both ends of each, as every peer does.
func TestIdleConnectionsToTheLimit(t *testing.T) {
	if os.Getenv("CULVERT_SOAK") == "" {
		t.Skip("takes a while: set CULVERT_SOAK=1")
	}
	limit, err := raiseLimit()
	if err != nil {
		t.Fatal(err)
	}
	server, b := echoServer(t), hello(t, ServerName)
	forEach(t, started, func(t *testing.T, p Peer) {
		n := min(limit*9/20, 20_000)
		if p.Name == "relay" {
			n = n / 3 // io.Copy holds a pipe for each direction
		}
		r := begin(t, p, Setup{Servers: []string{server}})
		for i := range n {
			c, err := dial(r.Addr, b, 0)
			if err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			defer c.Close()
		}
	})
}
