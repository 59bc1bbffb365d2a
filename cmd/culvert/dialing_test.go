package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"culvert/l4/authority"
)

// passedName is passed through to the server that siteName's requests go to.
const passedName = "pass.example.com"

// dialed is what a server learned of a connection before its first byte.
type dialed struct {
	source              string // address of the socket's peer
	version             byte   // of the PROXY header; 0: there was none
	own                 bool   // the header is LOCAL, or UNKNOWN in version 1
	client, local       string // of the header
	alpn, authority, id string
	summed              bool // has a checksum, which is right
	tls                 bool // what follows begins like a hello
}

// dialedServer answers HTTP and HTTPS behind PROXY headers, or behind none.
type dialedServer struct {
	ln    net.Listener
	tls   *tls.Config
	seen  chan dialed     // holds more than a test makes
	lost  chan error      // headers that were wrong
	plain bool            // no header is expected
	used  map[string]bool // sources, by expect
}

func startDialed(t *testing.T, ca *authority.CA, plain bool) *dialedServer {
	t.Helper()
	s := &dialedServer{
		ln: must(net.Listen("tcp", "127.0.0.1:0")), plain: plain, seen: make(chan dialed, 10000), lost: make(chan error, 10000),
		used: map[string]bool{},
		tls:  &tls.Config{Certificates: []tls.Certificate{*must(ca.Certificate(passedName))}, NextProtos: []string{"http/1.1"}},
	}
	t.Cleanup(func() { s.ln.Close() })
	go func() {
		for {
			c, err := s.ln.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *dialedServer) serve(c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(c)
	x := dialed{source: host(c.RemoteAddr().String())}
	if !s.plain {
		h, err := proxyproto.Read(r)
		if err == nil {
			err = x.read(h)
		}
		if err != nil {
			s.lost <- err
			return
		}
	}
	first, err := r.Peek(1)
	x.tls = err == nil && first[0] == 22
	s.seen <- x
	conn := net.Conn(&buffered{c, r})
	if x.tls {
		conn = tls.Server(conn, s.tls)
	}
	answerAll(conn)
}

// answerAll answers requests until the client ends.
func answerAll(c net.Conn) {
	for r := bufio.NewReader(c); ; {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"OK\"}"); err != nil {
			return
		}
	}
}

// read enters what a header says.
func (x *dialed) read(h *proxyproto.Header) error {
	x.version = h.Version
	x.own = h.Command.IsLocal() || h.Version == 1 && h.TransportProtocol.IsUnspec()
	if src, dst, ok := h.TCPAddrs(); ok && !x.own {
		x.client, x.local = src.String(), dst.String()
	}
	all, err := h.TLVs()
	for _, v := range all {
		switch v.Type {
		case proxyproto.PP2_TYPE_ALPN:
			x.alpn = string(v.Value)
		case proxyproto.PP2_TYPE_AUTHORITY:
			x.authority = string(v.Value)
		case proxyproto.PP2_TYPE_UNIQUE_ID:
			x.id = string(v.Value)
		case proxyproto.PP2_TYPE_CRC32C:
			wire := must(h.Format())
			at := bytes.Index(wire, append([]byte{3, 0, 4}, v.Value...)) + 3
			clear(wire[at : at+4])
			x.summed = binary.BigEndian.Uint32(v.Value) == crc32.Checksum(wire, crc32.MakeTable(crc32.Castagnoli))
		}
	}
	return err
}

func host(addrPort string) string {
	h, _, _ := net.SplitHostPort(addrPort)
	return h
}

// buffered is a connection whose first bytes are in r.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

// Read is io.Reader's.
func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// TestAllDialAlike: traffic, probes, routes that end TLS, and doctor honour
// source and send_proxy of the pool, and say in the header what they know.
func TestAllDialAlike(t *testing.T) {
	sources := []string{"127.0.0.5", "127.0.0.6"}
	for _, tt := range []struct {
		name    string
		version byte
		source  string // in the pool
		from    []string
	}{
		{"sources without a header", 0, "source: [127.0.0.5, 127.0.0.6]", sources},
		{"version 1", 1, "", []string{"127.0.0.1"}},
		{"version 1 with sources", 1, "source: [127.0.0.5, 127.0.0.6]", sources},
		{"version 2", 2, "", []string{"127.0.0.1"}},
		{"version 2 with sources", 2, "source: [127.0.0.5, 127.0.0.6]", sources},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &site{ca: must(authority.New()), dir: t.TempDir()}
			s.writeCertificate("site")
			server := startDialed(t, s.ca, tt.version == 0)
			pool := []string{tt.source, fmt.Sprintf("servers: [%q]", server.ln.Addr()), "health: {check: http, interval: 100ms, timeout: 100ms, fall: 1000}", "site_url: 'https://" + siteName + "'"}
			if tt.version > 0 {
				pool = append(pool, fmt.Sprintf("send_proxy: v%d", tt.version))
			}
			file := writeConfig(t, fmt.Sprintf(`listeners:
  - address: "127.0.0.1:0"
    routes:
      - {server_name: %[1]s, pool: p}
      - {server_name: %[2]s, pool: p, terminate: {certificates: [{certificate: %[3]s/site.pem, key: %[3]s/site.key}]}}
pools: {p: {%[4]s}}
log: {access: "off"}
`, passedName, siteName, s.dir, strings.Join(slices.DeleteFunc(pool, func(s string) bool { return s == "" }), ", ")))
			wanted := func(who string, n int, is func(dialed) bool) {
				t.Helper()
				server.expect(t, who, n, tt.version, tt.from, is)
			}
			if out, _ := exec.Command("culvert", "doctor", file).CombinedOutput(); !bytes.Contains(out, []byte("reach")) {
				t.Fatalf("doctor: %s", out)
			}
			wanted("doctor", len(tt.from), func(x dialed) bool { return x.own || x.version == 0 })
			p := start(t, stderr, nil, "run", file)
			s.runProcess = &runProcess{process: p, address: p.expect(`listening on (127\.0\.0\.1:\d+)`)[1]}
			wanted("probes", 3, func(x dialed) bool { return (x.own || x.version == 0) && !x.tls })
			for _, name := range []string{passedName, siteName} {
				for range 2 {
					c := s.request(t, name)
					want := dialed{client: c.LocalAddr().String(), local: c.RemoteAddr().String(), alpn: "http/1.1", authority: name}
					wanted(name, 1, func(x dialed) bool { return x.isFor(want, name == passedName) })
					c.Close()
				}
			}
			if len(server.used) != len(tt.from) {
				t.Errorf("dialed from %v, want each of %v", server.used, tt.from)
			}
		})
	}
}

// request makes a request through culvert on a connection that it returns.
func (s *site) request(t *testing.T, name string) net.Conn {
	t.Helper()
	c := must(tls.Dial("tcp", s.address, &tls.Config{RootCAs: s.ca.Pool(), ServerName: name, NextProtos: []string{"http/1.1"}}))
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", name)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %+v, %v", name, res, err)
	}
	return c
}

// isFor reports whether x says what want has. A header of version 1 has the
// addresses only, and one of version 2 an ID.
func (x dialed) isFor(want dialed, overTLS bool) bool {
	if x.own || x.tls != overTLS {
		return false
	}
	if x.version == 0 {
		return true
	}
	said := dialed{client: x.client, local: x.local, alpn: x.alpn, authority: x.authority}
	if x.version == 1 {
		want.alpn, want.authority = "", ""
	}
	return said == want && (x.version == 1) == (x.id == "")
}

// expect waits for n connections that a dialer made, and wants all that the
// server has seen since to be right, but for who dialed.
func (s *dialedServer) expect(t *testing.T, who string, n int, version byte, from []string, is func(dialed) bool) {
	t.Helper()
	late := time.After(patience)
	for n > 0 {
		select {
		case x := <-s.seen:
			s.used[x.source] = true
			switch {
			case x.version != version, !slices.Contains(from, x.source), x.summed != (version == 2):
				t.Fatalf("waiting for %s: %+v, want version %d from one of %v", who, x, version, from)
			case is(x):
				n--
			}
		case err := <-s.lost:
			t.Fatalf("waiting for %s: %v", who, err)
		case <-late:
			t.Fatalf("the connection of %s was not seen", who)
		}
	}
}
