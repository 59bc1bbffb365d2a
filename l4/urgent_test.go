package l4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
)

// sendUrgent sends one byte of urgent data.
func sendUrgent(c *net.TCPConn, b byte) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	werr := raw.Write(func(fd uintptr) bool {
		err = syscall.Sendto(int(fd), []byte{b}, syscall.MSG_OOB, &syscall.SockaddrInet4{})
		return err != syscall.EAGAIN
	})
	return errors.Join(werr, err)
}

const urgentByte = 0xff // never a normal one

// sevenBit is a stream without urgentByte.
type sevenBit struct{ off int }

func (s *sevenBit) fill(b []byte) {
	for i := range b {
		b[i] = byte(s.off * 31 >> 4 & 0x7f)
		s.off++
	}
}

// sendWithUrgent sends size bytes in chunks, with an urgent byte after some.
func sendWithUrgent(c *net.TCPConn, size, chunk int, at func(i int) bool) error {
	var s sevenBit
	buf := make([]byte, chunk)
	for i := 0; s.off < size; i++ {
		b := buf[:min(chunk, size-s.off)]
		s.fill(b)
		if _, err := c.Write(b); err != nil {
			return err
		}
		if at(i) {
			if err := sendUrgent(c, urgentByte); err != nil {
				return err
			}
		}
	}
	return c.CloseWrite()
}

// withoutUrgent reads to the end and checks every byte but the urgent ones,
// which a receiver without SO_OOBINLINE mostly does not see, but sees when
// the next one overtakes them.
func withoutUrgent(r io.Reader) (int, error) {
	var s sevenBit
	buf, want := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		got := slices.DeleteFunc(buf[:n], func(b byte) bool { return b == urgentByte })
		s.fill(want[:len(got)])
		if !bytes.Equal(got, want[:len(got)]) {
			return s.off, fmt.Errorf("wrong before byte %d", s.off)
		}
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return s.off, err
		}
	}
}

func TestUrgentDataStopsNothing(t *testing.T) {
	for _, tt := range []struct {
		name        string
		size, chunk int
		at          func(int) bool
	}{
		{"one in a few bytes", 30, 10, func(i int) bool { return i == 0 }},
		{"before the end", 30, 30, func(i int) bool { return true }},
		{"after every message", 5000, 100, func(int) bool { return true }},
		{"one in bulk", 2 << 20, 64 << 10, func(i int) bool { return i == 15 }},
		{"last of bulk", 2 << 20, 64 << 10, func(i int) bool { return i == 31 }},
		{"many in bulk", 2 << 20, 64 << 10, func(i int) bool { return i%7 == 3 }},
		{"many in bulk of small writes", 1 << 20, 3000, func(i int) bool { return i%11 == 3 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := startPairs(t, 0, nil)
			for i := range soak(15, 500) {
				c, s := p.connect()
				from, to := c, s
				if i%2 == 1 {
					from, to = s, c
				}
				sent := make(chan error, 1)
				go func() { sent <- sendWithUrgent(from, tt.size, tt.chunk, tt.at) }()
				if n, err := withoutUrgent(to); n != tt.size || err != nil {
					t.Fatalf("got %d bytes, %v, want %d", n, err, tt.size)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				if err := transfer(to, from, 5, 100_000); err != nil {
					t.Fatalf("the other way: %v", err)
				}
				if rec := p.next(); rec.Reason != ReasonClosed {
					t.Fatalf("got %v by %v", rec.Reason, rec.EndedBy)
				}
			}
		})
	}
}

// An urgent byte, more bytes and a FIN that arrive between an event and the
// splice it leads to: splice stops at the mark and says 0, as at the end.
func TestUrgentDataBehindTheEventIsNoEnd(t *testing.T) {
	p := startPairs(t, 0, func(c *Config) { c.Loops = 1 })
	for i := range soak(10, 100) {
		c, s := p.connect()
		from, to, f := c, s, client
		if i%2 == 1 {
			from, to, f = s, c, server
		}
		const size = 30
		held, gate := make(chan bool), make(chan bool)
		p.e.loops[0].post(func(l *loop) { // the events stay unseen
			held <- true
			<-gate
			for _, c := range l.conns {
				if c != nil && c.phase == phaseRelay {
					c.flows[f].splicing, c.ends[f].readable = true, true
					l.relay(c)
				}
			}
		})
		<-held
		if err := sendUrgent(from, urgentByte); err != nil {
			t.Fatal(err)
		}
		if err := sendWithUrgent(from, size, size, func(int) bool { return false }); err != nil {
			t.Fatal(err)
		}
		acknowledged(t, from)
		close(gate)
		if n, err := withoutUrgent(to); n != size || err != nil {
			t.Fatalf("got %d bytes, %v, want %d", n, err, size)
		}
		c.Close()
		s.Close()
		p.next()
	}
}

func TestUrgentDataDoesNotSpin(t *testing.T) {
	p := startPairs(t, 0, nil)
	for i := range 4 {
		c, s := p.connect()
		from, to := c, s
		if i%2 == 1 {
			from, to = s, c
		}
		if i >= 2 {
			_, _ = from.Write([]byte("ab"))
		}
		if err := sendUrgent(from, urgentByte); err != nil {
			t.Fatal(err)
		}
		if i >= 2 {
			if _, err := io.ReadFull(to, make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
		}
	}
	staysQuiet(t, "with urgent bytes that nobody reads")
}
