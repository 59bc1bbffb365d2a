package l4

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

func TestPauseIsLoggedOnceAtItsBeginningAndItsEnd(t *testing.T) {
	o := startOrigin(t, echo)
	ln := plainListener(roundRobin(t, o.addr))
	ln.MaxConnections = 1
	var log lines
	clock := &clock{start: time.Now()}
	e, err := Start(&Config{Listeners: []*Listener{ln}, Loops: 1}, Hooks{Now: clock.now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, e: e, clock: clock, addrs: []string{e.Addrs()[0].String()}}
	defer r.stop(openFDs(t), 1<<10)
	first, second := r.dial(0), r.dial(0)
	eventually(t, "the listener is paused", func() bool { return e.Stats().Paused == 1 })
	for range 20 {
		r.advance(acceptRetry)
	}
	first.Close()
	_, _ = second.Write([]byte("a"))
	if _, err := io.ReadFull(second, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	second.Close()
	eventually(t, "all connections are gone", func() bool { return e.Active() == 0 })
	for range 20 {
		r.advance(acceptRetry)
	}
	if n := log.count("pausing the listener"); n != 1 {
		t.Errorf("the pause was logged %d times, want once", n)
	}
	if n := log.count("reason=max_connections limit=1"); n != 1 {
		t.Errorf("the limit was logged %d times, want once", n)
	}
	if n := log.count("accepting again"); n != 1 {
		t.Errorf("the end of the pause was logged %d times, want once", n)
	}
}
