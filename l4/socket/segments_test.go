package socket

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// segments is how many segments fd has sent (TCP_INFO, tcp(7)).
func segments(t *testing.T, fd int) int {
	t.Helper()
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Segs_out)
}

func TestLastWriteSharesItsSegmentWithTheFIN(t *testing.T) {
	tests := []struct {
		name  string
		write func(int, []byte) (int, Errno)
		want  int
	}{
		{"Write", Write, 2},
		{"WriteLast", WriteLast, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := pair(t)
			before := segments(t, b)
			if n, e := tt.write(b, []byte("bye")); n != 3 || e != 0 {
				t.Fatalf("got %d, %v", n, e)
			}
			if e := ShutdownWrite(b); e != 0 {
				t.Fatal(e)
			}
			if got := segments(t, b) - before; got != tt.want {
				t.Errorf("%d segments for three bytes and the FIN, want %d", got, tt.want)
			}
			if got := readAll(t, a); !bytes.Equal(got, []byte("bye")) {
				t.Errorf("the peer got %q", got)
			}
		})
	}
}

func TestHandshakeEndsWithTheFirstBytes(t *testing.T) {
	tests := []struct {
		name string
		how  Dialing
		want int // SYN, then the data, which acknowledges; or an ACK between
	}{
		{"the peer may talk first", Dialing{}, 3},
		{"who dials talks first", Dialing{TalksFirst: true}, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target := NewTarget(loopback(t).Addr())
			fd, _, e := Dial(&target, tt.how)
			if e != 0 {
				t.Fatal(e)
			}
			defer Close(fd)
			if n, e := Write(fd, []byte("hello")); n != 5 || e != 0 {
				t.Fatalf("got %d, %v", n, e)
			}
			if got := segments(t, fd); got != tt.want {
				t.Errorf("%d segments until the first bytes are out, want %d", got, tt.want)
			}
		})
	}
}

// readAll reads until the end of the stream.
func readAll(t *testing.T, fd int) []byte {
	t.Helper()
	var all []byte
	buf := make([]byte, 64)
	for {
		await(t, fd, unix.POLLIN)
		n, e := Read(fd, buf)
		if e != 0 {
			t.Fatal(e)
		}
		if n == 0 {
			return all
		}
		all = append(all, buf[:n]...)
	}
}
