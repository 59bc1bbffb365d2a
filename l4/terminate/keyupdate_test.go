package terminate

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/l4/internal/program"

	"golang.org/x/net/http2"
)

// useless is how many consecutive records without effect crypto/tls ignores.
const useless = 16

// flooding is a record that a client repeats, and how often crypto/tls accepts
// it.
type flooding struct {
	name    string
	version uint16
	typ     byte
	payload []byte
	max     int
	plain   bool // sent without encryption
}

var floodings = []flooding{
	{"KeyUpdate", tls.VersionTLS13, handshakeRecord, update, useless, false},
	{"KeyUpdate that asks for one", tls.VersionTLS13, handshakeRecord, updateBoth, useless, false},
	{"no data", tls.VersionTLS13, dataRecord, nil, useless, false},
	{"user_canceled", tls.VersionTLS13, alertRecord, []byte{1, 90}, useless, false},
	{"change_cipher_spec", tls.VersionTLS13, changeCipherSpec, []byte{1}, useless, true},
	{"warning", tls.VersionTLS13, alertRecord, []byte{1, 100}, 0, false},
	{"two KeyUpdates in one", tls.VersionTLS13, handshakeRecord, append(update[:5:5], update...), 0, false},
	{"NewSessionTicket", tls.VersionTLS13, handshakeRecord, []byte{4, 0, 0, 0}, 0, false},
	{"empty message", tls.VersionTLS13, handshakeRecord, nil, 0, false},
	{"unknown record", tls.VersionTLS13, unknownRecord, []byte("hello"), 0, false},
	{"unprotected record", tls.VersionTLS13, dataRecord, []byte("hello"), 0, true},
	{"no data", tls.VersionTLS12, dataRecord, nil, useless, false},
	{"warning", tls.VersionTLS12, alertRecord, []byte{1, 100}, useless, false},
	{"change_cipher_spec", tls.VersionTLS12, changeCipherSpec, []byte{1}, 0, false},
	{"KeyUpdate", tls.VersionTLS12, handshakeRecord, update, 0, false},
	{"HelloRequest", tls.VersionTLS12, handshakeRecord, askForHello, 0, false},
	{"unknown record", tls.VersionTLS12, unknownRecord, []byte("hello"), 0, false},
}

// append appends the record n times to b, as c would send it.
func (f *flooding) append(b []byte, c *recordClient, n int) []byte {
	for range n {
		if f.plain {
			b = append(append(b, f.typ, 3, 3, 0, byte(len(f.payload))), f.payload...)
			continue
		}
		b = c.seal(b, f.typ, f.payload)
	}
	return b
}

const getAndClose = "GET /a HTTP/1.1\r\nHost: " + chat + "\r\nConnection: close\r\n\r\n"

// Sixteen consecutive records without effect are ignored, and the next one ends
// the connection. An invalid record ends it at once.
func TestUselessRecordsAreLimited(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	for _, f := range floodings {
		t.Run(tls.VersionName(f.version)+", "+f.name, func(t *testing.T) {
			for n, want := range map[int]int{f.max: 1, f.max + 1: 0} {
				server.take()
				c := r.records(f.version, "http/1.1")
				_, _ = c.tcp.Write(c.seal(f.append(nil, c, n), dataRecord, []byte(getAndClose)))
				got := ends(t, c)
				if strings.Count(got, " 200 OK") != want || len(server.take()) != want {
					t.Errorf("after %d: got %q, want %d responses", n, got, want)
				}
			}
		})
	}
}

// place is a state of a connection in which it is flooded.
type place struct {
	start func(t *testing.T) *rig
	enter func(t *testing.T, r *rig) *recordClient // returns when the server has reached the state
	echo  bool                                     // enter has received a response
}

func ordinary(t *testing.T) *rig { return startRig(t, setting{}, startRecorder(t, nil).addr) }

// afterSending returns an enter after which the client has sent part of HTTP/1.1.
func afterSending(text string) func(t *testing.T, r *rig) *recordClient {
	return func(t *testing.T, r *rig) *recordClient {
		c := r.records(tls.VersionTLS13, "http/1.1")
		_, _ = io.WriteString(c, text)
		return c
	}
}

// afterAsking returns an enter after which a server is working on a request.
func afterAsking(text string) func(t *testing.T, r *rig) *recordClient {
	return func(t *testing.T, r *rig) *recordClient {
		before := r.pool.Servers()[0].Active()
		c := afterSending(text)(t, r)
		eventually(t, "the server has the request", func() bool { return r.pool.Servers()[0].Active() > before })
		return c
	}
}

// afterEcho returns an enter after which the server echoes what is sent.
func afterEcho(text string, protocols ...string) func(t *testing.T, r *rig) *recordClient {
	return func(t *testing.T, r *rig) *recordClient {
		c := r.records(tls.VersionTLS13, protocols...)
		_, _ = io.WriteString(c, text+"hello")
		for b, got := make([]byte, 512), ""; !strings.HasSuffix(got, "hello"); {
			n, err := c.Read(b)
			if got += string(b[:n]); err != nil {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		return c
	}
}

var places = map[string]place{
	"no request": {start: ordinary, enter: afterSending("")},
	"headers":    {start: ordinary, enter: afterSending(getAndClose[:20])},
	"a body":     {start: ordinary, enter: afterAsking("POST / HTTP/1.1\r\nHost: " + chat + "\r\nContent-Length: 100000\r\n\r\nhello")},
	"a request under way": {
		start: func(t *testing.T) *rig {
			return startRig(t, setting{}, startScript(t, func(_ net.Conn, q *bufio.Reader) { _, _ = io.Copy(io.Discard, q) }))
		},
		enter: afterAsking(getAndClose),
	},
	"HTTP/2": {start: ordinary, enter: func(t *testing.T, r *rig) *recordClient {
		c := r.records(tls.VersionTLS13, "h2")
		_, _ = io.WriteString(c, http2.ClientPreface)
		_ = http2.NewFramer(c, nil).WriteSettings()
		return c
	}},
	"a WebSocket": {
		start: func(t *testing.T) *rig { return startRig(t, setting{}, speaking(t, echo)) },
		enter: afterEcho(handshake(socketPath), "http/1.1"), echo: true,
	},
	"raw": {
		start: func(t *testing.T) *rig { return startRig(t, setting{Config: Config{Raw: true}}, startScript(t, echo)) },
		enter: afterEcho(""), echo: true,
	},
}

// served fails unless another client is served.
func (p *place) served(t *testing.T, r *rig) {
	t.Helper()
	if p.echo {
		_ = p.enter(t, r).tcp.Close()
		return
	}
	if got := r.raw(getAndClose, 1); len(got) != 1 || got[0].StatusCode != 200 {
		t.Errorf("another client got %v", got)
	}
}

// A flood of records without effect ends the connection in every state, and no
// resources stay in use.
func TestUselessRecordsEndTheConnectionInAnyState(t *testing.T) {
	for name, place := range places {
		for _, f := range floodings[:3] {
			t.Run(name+", "+f.name, func(t *testing.T) {
				r := place.start(t)
				c := place.enter(t, r)
				_, _ = c.tcp.Write(f.append(nil, c, useless+1))
				ends(t, c)
				eventually(t, "the connection is closed", func() bool { return r.connected() == 0 })
			})
		}
	}
}

// connected returns how many connections of clients are open.
func (r *rig) connected() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

// A client that updates its keys before each byte of its request is served.
func TestKeyUpdatesOfAnHonestClient(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	for _, f := range floodings[:2] {
		t.Run(f.name, func(t *testing.T) {
			c := r.records(tls.VersionTLS13, "http/1.1")
			for _, b := range []byte(getAndClose) {
				_, _ = c.tcp.Write(c.seal(f.append(nil, c, useless), dataRecord, []byte{b}))
			}
			if q := r.report(); q.Status != 200 || len(server.take()) != 1 {
				t.Errorf("got the report %+v", q)
			}
		})
	}
}

// useful is what an attacker sends between KeyUpdates, so that there are never
// too many consecutive ones.
var useful = map[string]string{
	"headers": "a", "a body": "a", "HTTP/2": "\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh", "a WebSocket": "a", "raw": "a",
}

// round sends as many of the records as are accepted, and then useful.
func (f *flooding) round(c *recordClient, useful string) error {
	_, err := c.tcp.Write(c.seal(f.append(nil, c, f.max), dataRecord, []byte(useful)))
	return err
}

// KeyUpdates between useful bytes are accepted as long as those are; other
// clients are served meanwhile, and memory returns to its previous level.
func TestKeyUpdatesBetweenBytes(t *testing.T) {
	rounds := 1000
	if raced() {
		rounds = 100
	}
	for name, bytes := range useful {
		for _, f := range floodings[:2] {
			t.Run(name+", "+f.name, func(t *testing.T) {
				place := places[name]
				r := place.start(t)
				c := place.enter(t, r)
				go func() { _, _ = io.Copy(io.Discard, c.tcp) }() // ends with the connection
				before := inUse()
				for range rounds {
					if err := f.round(c, bytes); err != nil {
						t.Fatal(err)
					}
				}
				place.served(t, r)
				eventually(t, "memory is back at its previous level", func() bool { return inUse() < before+4<<20 })
				_ = c.tcp.Close()
				eventually(t, "the connection is closed", func() bool { return r.connected() == 0 })
			})
		}
	}
}

// KeyUpdates do not extend the time for the headers of a request.
func TestKeyUpdatesDoNotExtendHeaderTimeout(t *testing.T) {
	t.Parallel() // mostly waiting
	for _, f := range floodings[:2] {
		t.Run(f.name, func(t *testing.T) {
			r := startRig(t, setting{Config: Config{Limits: Limits{HeaderTimeout: shortTimeout, MaxHeader: 1 << 30}}}, startRecorder(t, nil).addr)
			c := places["headers"].enter(t, r)
			go func() { _, _ = io.Copy(io.Discard, c.tcp) }() // ends with the connection
			for f.round(c, "a") == nil {
			}
			eventually(t, "the connection is closed", func() bool { return r.connected() == 0 })
		})
	}
}

// Invalid and useless records end a handshake, and no slot of the limiter stays
// held.
func TestUselessRecordsInTheHandshake(t *testing.T) {
	l := NewHandshakeLimiter(1)
	r := startRig(t, setting{Config: Config{Handshakes: l}}, startRecorder(t, nil).addr)
	hello := string(r.hello())
	changes := strings.Repeat("\x14\x03\x03\x00\x01\x01", useless)
	warnings := strings.Repeat("\x15\x03\x01\x00\x02\x01\x64", useless)
	for _, tt := range []struct {
		name, first, then string
		refused           bool
	}{
		{"warnings", warnings, "", false},
		{"too many warnings", warnings, warnings[:7], true},
		{"changes of cipher", hello, changes, false},
		{"too many changes of cipher", hello, changes + changes[:6], true},
		{"an empty record", "\x16\x03\x01\x00\x00", "", true},
		{"a message of more than 64 KiB", "\x16\x03\x01\x00\x04\x01\x01\x00\x01", "", true},
		{"64 KiB in records of one byte", "\x16\x03\x01\x00\x04\x01\x00\xff\xff", strings.Repeat("\x16\x03\x01\x00\x01a", 65535), true},
		{"a second hello", hello, hello, true},
		{"data", hello, "\x17\x03\x03\x00\x01a", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(r.refusals())
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(testTimeout))
			_, _ = io.WriteString(c, tt.first+tt.then)
			if got := r.get("HTTP/1.1", "/"); got.StatusCode != 200 {
				t.Errorf("another client got %s", got.Status)
			}
			if n := len(r.refusals()); !tt.refused && n != before {
				t.Errorf("got %v", r.refusals()[before:])
			}
			if !tt.refused {
				_ = c.Close()
			}
			eventually(t, "the handshake is refused", func() bool { return len(r.refusals()) == before+1 })
			eventually(t, "all slots of the limiter are free", func() bool { return l.idle(1) })
		})
	}
}

// A renegotiation by openssl ends the connection, a KeyUpdate does not.
func TestRenegotiationWithOpenSSL(t *testing.T) {
	program.Need(t, "openssl")
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	for _, tt := range []struct {
		version, command, done string
		want                   int
	}{
		{"-tls1_2", "R", "RENEGOTIATING", 0},
		{"-tls1_3", "k", "KEYUPDATE", 1},
		{"-tls1_3", "K", "KEYUPDATE", 1},
	} {
		t.Run(tt.version+" "+tt.command, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			defer cancel()
			cmd := exec.CommandContext(ctx, "openssl", "s_client", "-connect", r.addr, "-servername", chat, tt.version)
			out := &transcript{}
			cmd.Stdout, cmd.Stderr = out, out
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(in, tt.command+"\n")
			eventually(t, "openssl prints "+tt.done, func() bool { return strings.Contains(out.String(), tt.done) })
			_, _ = io.WriteString(in, getAndClose)
			_ = cmd.Wait()
			if got := strings.Count(out.String(), " 200 OK"); got != tt.want || len(server.take()) != tt.want || ctx.Err() != nil {
				t.Errorf("%d responses, want %d: %s", got, tt.want, out.String())
			}
		})
	}
}

// transcript collects the output of a program.
type transcript struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (o *transcript) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.Write(b)
}

func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all.String()
}

// A client that reads no response to its KeyUpdates has the header timeout, and
// in addition at most the timeout of one write.
func TestKeyUpdatesUnread(t *testing.T) {
	t.Parallel() // mostly waiting
	f := floodings[1]
	for _, name := range []string{"headers", "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			limits := Limits{HeaderTimeout: 4 * time.Second, BodyTimeout: time.Second, IdleTimeout: 4 * time.Second, MaxHeader: 1 << 30}
			r := startRig(t, setting{Config: Config{Limits: limits}}, startRecorder(t, nil).addr)
			c := places[name].enter(t, r)
			for f.round(c, useful[name]) == nil { // until the server's write blocks
				_ = c.tcp.SetWriteDeadline(time.Now().Add(shortTimeout))
			}
			eventually(t, "the connection is closed", func() bool { return r.connected() == 0 })
		})
	}
}
