package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

func closeSpool(t *testing.T, s interface{ Close(context.Context) error }) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestLinesAreWrittenInOrder(t *testing.T) {
	var out, want bytes.Buffer
	l := NewLines(&out)
	for i := range maxLines / 2 {
		fmt.Fprintln(l, i)
		fmt.Fprintln(&want, i)
	}
	closeSpool(t, l)
	if out.String() != want.String() {
		t.Errorf("got %.100q", out.String())
	}
}

func TestALineIsACopy(t *testing.T) {
	var out bytes.Buffer
	l := NewLines(&out)
	line := []byte("one\n")
	if _, err := l.Write(line); err != nil {
		t.Fatal(err)
	}
	copy(line, "two\n")
	closeSpool(t, l)
	if out.String() != "one\n" {
		t.Errorf("got %q", out.String())
	}
}

// writes is an output that notes each Write, the first of them once it may go
// on.
type writes struct {
	entered, open chan struct{}
	all           []string
}

func (w *writes) Write(p []byte) (int, error) {
	if len(w.all) == 0 {
		close(w.entered)
		<-w.open
	}
	w.all = append(w.all, string(p))
	return len(p), nil
}

// A pipe takes a line of up to PIPE_BUF bytes as a whole, between those of
// another process (pipe(7)).
func TestEachLineIsOneWrite(t *testing.T) {
	out := &writes{entered: make(chan struct{}), open: make(chan struct{})}
	l := NewLines(out)
	fmt.Fprintln(l, 0)
	<-out.entered
	fmt.Fprintln(l, 1)
	fmt.Fprintln(l, 2)
	close(out.open)
	closeSpool(t, l)
	if got, want := fmt.Sprintf("%q", out.all), `["0\n" "1\n" "2\n"]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestLinesNeverWait(t *testing.T) {
	r, w := io.Pipe() // nothing reads
	l := NewLines(w)
	for l.Dropped() == 0 {
		fmt.Fprintln(l, "line")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close although lines are left: got %v, want %v", err, context.DeadlineExceeded)
	}
	r.Close() // every write fails from now on
	closeSpool(t, l)
	if got, want := l.Dropped(), uint64(maxLines); got < want {
		t.Errorf("dropped %d lines, want at least %d", got, want)
	}
}

func TestLinesAfterCloseAreDropped(t *testing.T) {
	l := NewLines(io.Discard)
	closeSpool(t, l)
	fmt.Fprintln(l, "late")
	if got := l.Dropped(); got != 1 {
		t.Errorf("dropped %d, want 1", got)
	}
}
