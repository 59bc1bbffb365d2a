package origin

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the servers' process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "origin" {
		if err := Command(os.Args[2:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func startProcess(t *testing.T, n int) *Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(context.Background(), self, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// hello is a TLS record of five bytes; the servers check only its length.
var hello = []byte{22, 3, 1, 0, 5, 'h', 'e', 'l', 'l', 'o'}

// connect connects and sends the hello and the order.
func connect(t *testing.T, addr string, o Order) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(o.Append(bytes.Clone(hello))); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestReplyEnds(t *testing.T) {
	p := startProcess(t, 2)
	got, err := io.ReadAll(connect(t, p.Plain[1], Order{Reply, 2000}))
	if err != nil || len(got) != 2000 {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestExchanges(t *testing.T) {
	p := startProcess(t, 1)
	tests := []struct {
		name            string
		order           Order
		request, answer int
	}{
		{"echo", Order{Echo, 200}, 200, 200},
		{"respond with more", Order{Respond, 100_000}, RequestSize, 100_000},
		{"respond with less", Order{Respond, 1}, RequestSize, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := connect(t, p.Plain[0], tt.order)
			for i := range 3 {
				if _, err := c.Write(bytes.Repeat([]byte{byte(i)}, tt.request)); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c, make([]byte, tt.answer)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestTakenCountsWhatArrived(t *testing.T) {
	p := startProcess(t, 1)
	c := connect(t, p.Plain[0], Order{Op: Take})
	if _, err := c.Write(make([]byte, 12345)); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, c); err != nil { // EOF means that all was read
		t.Fatal(err)
	}
	if got, err := p.Taken(); err != nil || got != 12345 {
		t.Errorf("got %d, %v", got, err)
	}
}

func TestUnknownOrdersEnd(t *testing.T) {
	p := startProcess(t, 1)
	for _, o := range []Order{{Op: 99}, {Reply, maxSize + 1}} {
		if got, err := io.ReadAll(connect(t, p.Plain[0], o)); len(got) > 0 || err != nil {
			t.Errorf("%v: got %d bytes, %v", o, len(got), err)
		}
	}
}

func TestLoginOverTLS(t *testing.T) {
	p := startProcess(t, 1)
	c, err := tls.Dial("tcp", p.TLS[0], &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, RequestSize)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || len(got) != LoginReply {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestKilledServerResetsAndRefusesUntilItIsRevived(t *testing.T) {
	p := startProcess(t, 2)
	c := connect(t, p.Plain[0], Order{Echo, 1})
	if _, err := c.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v, want a reset", err)
	}
	if _, err := net.Dial("tcp", p.Plain[0]); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new one: %v, want refused", err)
	}
	connect(t, p.Plain[1], Order{Echo, 1}) // the other server still works
	if err := p.Revive(0); err != nil {
		t.Fatal(err)
	}
	connect(t, p.Plain[0], Order{Echo, 1})
}

func TestCommandsForNoServer(t *testing.T) {
	p := startProcess(t, 1)
	for _, i := range []int{-1, 1} {
		if err := p.Kill(i); err == nil {
			t.Errorf("killing server %d worked", i)
		}
	}
}

func TestServersThatNeverWork(t *testing.T) {
	p := startProcess(t, 1)
	if _, err := net.Dial("tcp", p.Refused); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("refused: %v", err)
	}
	var timeout net.Error
	if _, err := net.DialTimeout("tcp", p.BlackHole, 300*time.Millisecond); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("black hole: %v, want a time-out", err)
	}
	c := connect(t, p.Silent, Order{Reply, 1})
	_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("silent: %d bytes, %v, want nothing", n, err)
	}
}

// The process ends when its parent is killed, because that closes the pipe.
func TestEndsWithItsParent(t *testing.T) {
	p := startProcess(t, 1)
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestPortsAreBelowThoseOfClients(t *testing.T) {
	p := startProcess(t, 3)
	for _, addr := range p.Plain {
		if a, err := net.ResolveTCPAddr("tcp", addr); err != nil || a.Port <= firstPort || a.Port >= 32768 {
			t.Errorf("%s, %v", addr, err)
		}
	}
}

func TestTakeSaysThatItHasBegun(t *testing.T) {
	p := startProcess(t, 1)
	if _, err := io.ReadFull(connect(t, p.Plain[0], Order{Op: Take}), make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

func TestOnlySilenceCountsAsFull(t *testing.T) {
	p := startProcess(t, 1)
	if kept, err := fill(p.Refused); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %d connections, %v, want refused", len(kept), err)
	}
}
