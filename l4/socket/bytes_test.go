package socket

import (
	"bytes"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestReadAndWrite(t *testing.T) {
	a, b := pair(t)
	buf := make([]byte, 100)
	if n, e := Read(b, buf); n != 0 || e != syscall.EAGAIN {
		t.Errorf("got %d, %v from an empty socket, want %v", n, e, syscall.EAGAIN)
	}
	if n, e := Write(a, []byte("hello")); n != 5 || e != 0 {
		t.Fatalf("got %d, %v", n, e)
	}
	await(t, b, unix.POLLIN)
	if n, e := Read(b, buf); e != 0 || string(buf[:n]) != "hello" {
		t.Errorf("got %q, %v, want %q", buf[:n], e, "hello")
	}
	if n, e := Write(a, nil); n != 0 || e != 0 {
		t.Errorf("writing nothing: got %d, %v", n, e)
	}
	if e := ShutdownWrite(a); e != 0 {
		t.Fatal(e)
	}
	await(t, b, unix.POLLIN)
	if n, e := Read(b, buf); n != 0 || e != 0 {
		t.Errorf("got %d, %v at the end, want 0 and no error", n, e)
	}
	if n, e := Write(b, []byte("x")); n != 1 || e != 0 {
		t.Errorf("the other direction: got %d, %v", n, e)
	}
	_, e := Write(a, []byte("x")) // raises no SIGPIPE
	if e != syscall.EPIPE {
		t.Errorf("got %v after the end, want %v", e, syscall.EPIPE)
	}
}

func TestWriteToAFullSocket(t *testing.T) {
	a, _ := pair(t)
	block := make([]byte, 1<<20)
	for range 1000 {
		if _, e := Write(a, block); e != 0 {
			if e != syscall.EAGAIN {
				t.Errorf("got %v, want %v", e, syscall.EAGAIN)
			}
			return
		}
	}
	t.Error("the socket never was full")
}

func TestAbortSendsAReset(t *testing.T) {
	a, b := pair(t)
	dup, err := unix.Dup(a) // so that a's number is not closed twice
	if err != nil {
		t.Fatal(err)
	}
	Close(a)
	Abort(dup)
	await(t, b, unix.POLLIN)
	if _, e := Read(b, make([]byte, 1)); e != syscall.ECONNRESET {
		t.Errorf("got %v, want %v", e, syscall.ECONNRESET)
	}
}

func TestCloseSendsAnEnd(t *testing.T) {
	l := loopback(t)
	target := NewTarget(l.Addr())
	a, _, e := Dial(&target, Dialing{})
	if e != 0 {
		t.Fatal(e)
	}
	await(t, a, unix.POLLOUT)
	b, _ := accept(t, l)
	Close(a)
	await(t, b, unix.POLLIN)
	if n, e := Read(b, make([]byte, 1)); n != 0 || e != 0 {
		t.Errorf("got %d, %v, want the end", n, e)
	}
}

func TestUnackedCountsWhatThePeerHasNotTaken(t *testing.T) {
	a, b := pair(t)
	if n := Unacked(a); n != 0 {
		t.Errorf("got %d of a new connection, want 0", n)
	}
	block := make([]byte, 1<<20)
	sent := 0
	for {
		n, e := Write(a, block)
		sent += n
		if e != 0 {
			break
		}
	}
	if n := Unacked(a); n == 0 || n > sent {
		t.Errorf("got %d with a full window, want 1 to %d", n, sent)
	}
	for got := 0; got < sent; {
		await(t, b, unix.POLLIN)
		n, e := Read(b, block)
		if e != 0 {
			t.Fatal(e)
		}
		got += n
	}
	for end := time.Now().Add(patience); Unacked(a) != 0; time.Sleep(time.Millisecond) { // no event tells
		if time.Now().After(end) {
			t.Fatalf("%d bytes are not acknowledged after all were read", Unacked(a))
		}
	}
	if n := Unacked(-1); n != 0 {
		t.Errorf("got %d of no socket, want 0", n)
	}
}

func TestErrOfNoSocket(t *testing.T) {
	if e := Err(-1); e != syscall.EBADF {
		t.Errorf("got %v, want %v", e, syscall.EBADF)
	}
}

func TestPipeHasTheSizeAskedFor(t *testing.T) {
	for _, size := range []int{4 << 10, 64 << 10, 128 << 10, 1 << 20} {
		p, e := NewPipe(size)
		if e != 0 {
			t.Fatal(e)
		}
		if p.Size() != size && Limits().PipeBytes == 0 {
			t.Errorf("got %d, want %d", p.Size(), size)
		}
		p.Close()
	}
}

func TestSpliceMovesBytes(t *testing.T) {
	in, from := pair(t)
	to, out := pair(t)
	p, e := NewPipe(64 << 10)
	if e != 0 {
		t.Fatal(e)
	}
	defer p.Close()
	if n, e := p.Fill(from); n != 0 || e != syscall.EAGAIN {
		t.Errorf("from an empty socket: got %d, %v, want %v", n, e, syscall.EAGAIN)
	}
	want := bytes.Repeat([]byte("0123456789"), 1000)
	if _, e := Write(in, want); e != 0 {
		t.Fatal(e)
	}
	await(t, from, unix.POLLIN)
	n, e := p.Fill(from)
	if n != len(want) || e != 0 || p.Len != n {
		t.Fatalf("got %d, %v, with %d in the pipe, want %d", n, e, p.Len, len(want))
	}
	head := make([]byte, 10)
	if n, e := p.Read(head); n != 10 || e != 0 || p.Len != len(want)-10 {
		t.Fatalf("got %d, %v, with %d in the pipe", n, e, p.Len)
	}
	if n, e := p.Drain(to); n != len(want)-10 || e != 0 || p.Len != 0 {
		t.Fatalf("got %d, %v, with %d in the pipe", n, e, p.Len)
	}
	ShutdownWrite(to)
	got := head
	for buf := make([]byte, 4096); ; {
		await(t, out, unix.POLLIN)
		n, e := Read(out, buf)
		if e != 0 || n == 0 {
			break
		}
		got = append(got, buf[:n]...)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, want the %d that were sent", len(got), len(want))
	}
	ShutdownWrite(in)
	await(t, from, unix.POLLIN)
	if n, e := p.Fill(from); n != 0 || e != 0 {
		t.Errorf("at the end: got %d, %v, want 0 and no error", n, e)
	}
}
