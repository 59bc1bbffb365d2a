package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestHistory is the history checker. Clients move numbered streams both ways
// through culvert, and each end checks every byte, while servers come and go
// and culvert reloads and upgrades, at random from a seed that is printed:
// CULVERT_SEED repeats it. No stream may fail, whatever happens. CULVERT_SOAK=1
// makes it long.
func TestHistory(t *testing.T) {
	seed, err := strconv.ParseUint(os.Getenv("CULVERT_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("CULVERT_SEED=%d", seed)
	h := newHistory(t, rand.New(rand.NewPCG(seed, 0)))
	rounds, clients := 12, 12
	if os.Getenv("CULVERT_SOAK") == "1" {
		rounds, clients = 600, 200
	}
	for i := range clients {
		h.running.Go(func() { h.client(uint64(i)) })
	}
	for range rounds {
		h.injectOne()
	}
	close(h.stop)
	h.running.Wait()
	t.Logf("%d streams, %d bytes each way, %v", h.streams.Load(), h.moved.Load(), h.injected)
	if h.streams.Load() < uint64(clients) {
		t.Errorf("%d streams are too few to say anything", h.streams.Load())
	}
}

// history is the state of the checker.
type history struct {
	t       *testing.T
	rand    *rand.Rand // of the faults alone
	process *runProcess
	servers []*echoServer
	away    *echoServer // nil: none is
	running sync.WaitGroup
	stop    chan struct{}

	streams, moved atomic.Uint64
	injected       map[string]int
}

func newHistory(t *testing.T, r *rand.Rand) *history {
	t.Helper()
	h := &history{t: t, rand: r, stop: make(chan struct{}), injected: map[string]int{}}
	h.process = startUpgradable(t, "")
	for range 3 {
		h.servers = append(h.servers, startEcho(t, h.process.origin.cert))
	}
	h.configure()
	h.process.ask("reload")
	return h
}

// configure writes a file with the servers in some order, now and then without
// one of them.
func (h *history) configure() {
	order := h.rand.Perm(len(h.servers))
	if h.rand.IntN(2) == 0 {
		order = order[1:]
	}
	var names []string
	for _, i := range order {
		names = append(names, strconv.Quote(h.servers[i].address))
	}
	p := h.process
	text := fmt.Sprintf(`listeners:
  - {address: "127.0.0.1:0", default: echo}
pools:
  echo: {servers: [%s], timeouts: {connect: 1s}}
log: {access: %q}
admin: {address: "127.0.0.1:0", socket: %q}
`, strings.Join(names, ", "), p.log, p.socket)
	if err := os.WriteFile(p.file, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// injectOne does one of the things that streams must survive.
func (h *history) injectOne() {
	faults := []struct {
		name string
		do   func()
	}{
		{"reload", func() { h.configure(); h.process.ask("reload") }},
		{"reloads", func() {
			for range 10 {
				h.configure()
				_ = syscall.Kill(h.process.current(), syscall.SIGHUP)
			}
			h.process.ask("reload")
		}},
		{"upgrade", h.process.upgrade},
		{"server away or back", h.toggle},
		{"drain", func() {
			if h.away != nil {
				h.toggle()
			}
			s := h.servers[h.rand.IntN(len(h.servers))].address
			_, _ = culvert(h.t, "drain", s, "--socket", h.process.socket)
			_, _ = culvert(h.t, "undrain", s, "--socket", h.process.socket)
		}},
	}
	f := faults[h.rand.IntN(len(faults))]
	h.injected[f.name]++
	f.do()
}

// toggle makes a server go away, or brings the one back that is: at least one
// is always in the file and there.
func (h *history) toggle() {
	if h.away != nil {
		h.away.toggle()
		h.away = nil
		h.process.ask("status") // whom it refused has gone elsewhere by then, so that elsewhere may go away next
		return
	}
	h.away = h.servers[h.rand.IntN(len(h.servers))]
	h.away.toggle()
}

// client makes one stream after the other, at the end the one under way.
func (h *history) client(number uint64) {
	r := rand.New(rand.NewPCG(number, 1))
	for n := uint64(0); ; n++ {
		size := int64(1) << (10 + r.IntN(13))
		if err := h.stream(number<<32|n, size); err != nil {
			h.t.Errorf("client %d, stream %d of %d bytes: %v", number, n, size, err)
			return
		}
		h.streams.Add(1)
		h.moved.Add(uint64(size))
		select {
		case <-h.stop:
			return
		default:
		}
	}
}

// stream sends numbered bytes and checks those that come back.
func (h *history) stream(number uint64, size int64) error {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", h.process.address,
		&tls.Config{RootCAs: h.process.origin.roots, ServerName: "chat.example.com"})
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(3 * patience))
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(c, &numbered{number: number}, size)
		if err == nil {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	n, err := io.Copy(&numbered{number: number}, struct{ io.Reader }{c})
	if err == nil && n != size {
		err = fmt.Errorf("the answer ends after %d bytes", n)
	}
	return errors.Join(err, <-sent)
}

// numbered is an endless stream of 16-byte words: the stream's number and the
// word's. Read makes it, Write checks it.
type numbered struct {
	number uint64
	off    int64
}

func (s *numbered) Read(b []byte) (int, error) {
	var word [16]byte
	for n := 0; n < len(b); {
		binary.BigEndian.PutUint64(word[:], s.number)
		binary.BigEndian.PutUint64(word[8:], uint64(s.off/16))
		k := copy(b[n:], word[s.off%16:])
		n, s.off = n+k, s.off+int64(k)
	}
	return len(b), nil
}

func (s *numbered) Write(b []byte) (int, error) {
	at := s.off
	want := make([]byte, len(b))
	_, _ = s.Read(want)
	if !bytes.Equal(b, want) {
		return 0, fmt.Errorf("stream %#x is wrong between bytes %d and %d", s.number, at, s.off)
	}
	return len(b), nil
}

// echoServer is a TLS server that echoes, and can stop to listen for a while.
// Connections that it has go on.
type echoServer struct {
	t       *testing.T
	address string
	cert    tls.Certificate
	ln      net.Listener // nil: away
}

func startEcho(t *testing.T, cert tls.Certificate) *echoServer {
	t.Helper()
	s := &echoServer{t: t, address: "127.0.0.1:0", cert: cert}
	s.toggle()
	t.Cleanup(func() {
		if s.ln != nil {
			s.ln.Close()
		}
	})
	return s
}

// toggle makes the server go away, or come back.
func (s *echoServer) toggle() {
	if s.ln != nil {
		s.ln.Close()
		s.ln = nil
		return
	}
	ln, err := tls.Listen("tcp", s.address, &tls.Config{Certificates: []tls.Certificate{s.cert}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.ln, s.address = ln, ln.Addr().String()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
			}()
		}
	}()
}
