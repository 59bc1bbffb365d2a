package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

func TestSpoolWritesInOrder(t *testing.T) {
	var out, want bytes.Buffer
	s := newSpool(&out)
	for i := range spoolLines / 2 {
		fmt.Fprintln(s, i)
		fmt.Fprintln(&want, i)
	}
	s.close(t.Context())
	if out.String() != want.String() {
		t.Errorf("got %.100q", out.String())
	}
}

func TestSpoolKeepsItsOwnCopy(t *testing.T) {
	var out bytes.Buffer
	s := newSpool(&out)
	line := []byte("one\n")
	if _, err := s.Write(line); err != nil {
		t.Fatal(err)
	}
	copy(line, "two\n")
	s.close(t.Context())
	if out.String() != "one\n" {
		t.Errorf("got %q", out.String())
	}
}

func TestSpoolNeverWaits(t *testing.T) {
	r, w := io.Pipe() // nobody reads
	s := newSpool(w)
	for s.dropped.Load() == 0 {
		fmt.Fprintln(s, "line")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	s.close(ctx)
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("close returned although lines are left")
	}
	r.Close() // every write fails from now on
	s.close(t.Context())
	if got, want := s.dropped.Load(), uint64(spoolLines); got < want {
		t.Errorf("dropped %d lines, want at least %d", got, want)
	}
}

func TestSpoolDropsAfterClose(t *testing.T) {
	s := newSpool(io.Discard)
	s.close(t.Context())
	fmt.Fprintln(s, "late")
	if got := s.dropped.Load(); got != 1 {
		t.Errorf("dropped %d, want 1", got)
	}
}
