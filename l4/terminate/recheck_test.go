package terminate

import (
	"crypto/tls"
	"io"
	"sync/atomic"
	"testing"
)

// The WebSocket of a client whose certificate was revoked is closed, that of
// another client stays open, and no reference to either is left at the end.
func TestRecheckClosesRevokedConnections(t *testing.T) {
	root := newRoot(t, "root")
	alice, bob := root.newClient(t, "alice"), root.newClient(t, "bob")
	var now atomic.Pointer[Authorities]
	now.Store(mustLoad(t, pemOf(root)))
	r := startRig(t, setting{Config: Config{Clients: &CertPolicy{Authorities: now.Load}}}, speaking(t, echo))
	open := func(client *signer) *tls.Conn {
		c := r.tls("http/1.1")
		c.Certificates = []tls.Certificate{client.tls()}
		conn := r.dial(c)
		if _, err := io.WriteString(conn, handshake("/api/v4/websocket")); err != nil {
			t.Fatal(err)
		}
		if _, err := readExactly(conn, len(agreed)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	a, b := open(alice), open(bob)
	if n := r.Recheck(); n != 0 {
		t.Errorf("%d closed although nothing has changed", n)
	}
	now.Store(mustLoad(t, pemOf(root), root.crl(t, crl{revoked: []*signer{alice}})))
	if n := r.Recheck(); n != 1 {
		t.Errorf("%d closed, want one", n)
	}
	if _, err := a.Read(make([]byte, 1)); err == nil {
		t.Error("the WebSocket of the revoked client is open")
	}
	if _, err := io.WriteString(b, "still there"); err != nil {
		t.Fatal(err)
	}
	if got, err := readExactly(b, len("still there")); got != "still there" {
		t.Errorf("the other client got %q, %v", got, err)
	}
	b.Close()
	eventually(t, "no connection is left in openConns", func() bool {
		r.openConns.mu.Lock()
		defer r.openConns.mu.Unlock()
		return len(r.openConns.conns) == 0
	})
}

func readExactly(r io.Reader, n int) (string, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return string(b), err
}
