package terminate

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/l4/internal/program"

	"golang.org/x/crypto/acme/autocert"
)

// rsaCertificate returns a certificate that also works without ephemeral keys.
func rsaCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: chat}, DNSNames: []string{chat},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Each profile accepts its versions and suites and refuses weaker ones, with RSA
// and ECDSA certificates.
func TestProfiles(t *testing.T) {
	certs := &Certificates{pairs: []tls.Certificate{serverCertificate(), rsaCertificate(t)}}
	version := func(v uint16) *tls.Config { return &tls.Config{MinVersion: v, MaxVersion: v} }
	suite := func(s ...uint16) *tls.Config { return &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: s} }
	tests := []struct {
		name                 string
		client               *tls.Config
		intermediate, modern bool
	}{
		{"TLS 1.0", version(tls.VersionTLS10), false, false},
		{"TLS 1.1", version(tls.VersionTLS11), false, false},
		{"TLS 1.2", version(tls.VersionTLS12), true, false},
		{"TLS 1.3", version(tls.VersionTLS13), true, true},
		{"RSA key exchange", suite(tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384), false, false},
		{"RSA key exchange and CBC", suite(tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA, tls.TLS_RSA_WITH_AES_128_CBC_SHA256), false, false},
		{"3DES", suite(tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA), false, false},
		{"RC4", suite(tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA), false, false},
		{"CBC", suite(tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256), false, false},
		{"AES-GCM with ECDSA", suite(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), true, false},
		{"AES-GCM with RSA", suite(tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384), true, false},
		{"ChaCha20 with RSA", suite(tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305), true, false},
	}
	for _, profile := range []Profile{"", Intermediate, Modern} {
		server := startRecorder(t, nil)
		r := startRig(t, setting{Config: Config{Profile: profile, Certificates: func() *Certificates { return certs }}}, server.addr)
		for _, tt := range tests {
			t.Run(string(profile)+" "+tt.name, func(t *testing.T) {
				c := tt.client.Clone()
				c.InsecureSkipVerify, c.ServerName = true, chat
				before := len(r.refusals())
				conn, err := tls.DialWithDialer(&net.Dialer{Timeout: testTimeout}, "tcp", r.addr, c)
				if err == nil {
					conn.Close()
				}
				want := tt.intermediate && profile != Modern || tt.modern
				if (err == nil) != want {
					t.Errorf("got %v, want a handshake: %v", err, want)
				}
				if !want {
					eventually(t, "the handshake is refused", func() bool { return len(r.refusals()) == before+1 })
				}
			})
		}
	}
}

// openssl gets the same results. It needs options to offer what is refused.
func TestProfilesWithOpenSSL(t *testing.T) {
	program.Need(t, "openssl")
	certs := &Certificates{pairs: []tls.Certificate{rsaCertificate(t)}}
	r := startRig(t, setting{Config: Config{Certificates: func() *Certificates { return certs }}}, closedAddr(t))
	for args, want := range map[string]bool{
		"-tls1 -cipher ALL:@SECLEVEL=0":               false,
		"-tls1_1 -cipher ALL:@SECLEVEL=0":             false,
		"-tls1_2":                                     true,
		"-tls1_3":                                     true,
		"-tls1_2 -cipher AES128-GCM-SHA256":           false,
		"-tls1_2 -cipher ECDHE-RSA-AES128-SHA256":     false,
		"-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256":   false,
		"-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384": true,
	} {
		cmd := exec.Command("openssl", append(strings.Fields("s_client -connect "+r.addr+" -servername "+chat), strings.Fields(args)...)...)
		out, err := cmd.CombinedOutput()
		if (err == nil) != want {
			t.Errorf("%s: got %v, want success: %v\n%s", args, err, want, out)
		}
	}
}

// Only the Server that started a session resumes it, so that the requirements of
// one route cannot be met with the session of another.
func TestResumptionStaysWithTheServer(t *testing.T) {
	server := startRecorder(t, nil)
	one, two := startRig(t, setting{}, server.addr), startRig(t, setting{}, server.addr)
	for _, version := range tlsVersions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			c := one.tls("http/1.1")
			c.MinVersion, c.MaxVersion, c.ClientSessionCache = version, version, tls.NewLRUClientSessionCache(8)
			for i, step := range []struct {
				at     *rig
				resume bool
			}{{one, false}, {one, true}, {two, false}, {one, false}, {one, true}} {
				conn := step.at.dial(c)
				// A request makes the client read, and thus receive the ticket.
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+chat+"\r\nConnection: close\r\n\r\n")
				if got := readAnswers(t, conn, 1); len(got) != 1 || got[0].StatusCode != 200 {
					t.Fatalf("got %v", got)
				}
				if got := conn.ConnectionState().DidResume; got != step.resume {
					t.Errorf("step %d: resumed %v, want %v", i, got, step.resume)
				}
				conn.Close()
			}
		})
	}
}

// With ACME, clients may still offer any protocols, and the challenge protocol is
// negotiated only with a certificate authority.
func TestProtocolsOffered(t *testing.T) {
	withACME := &ACME{Manager: &autocert.Manager{Prompt: autocert.AcceptTOS, HostPolicy: autocert.HostWhitelist(chat)}}
	echoing := startScript(t, func(c net.Conn, r *bufio.Reader) { echo(c, r) })
	for _, tt := range []struct {
		name   string
		cfg    Config
		offers []string
		want   string
		fails  bool
	}{
		{"h2", Config{}, []string{"h2", "http/1.1"}, "h2", false},
		{"http/1.1", Config{}, []string{"http/1.1"}, "http/1.1", false},
		{"nothing", Config{}, nil, "", false},
		{"something else", Config{}, []string{"imap"}, "", true},
		{"challenge without a certificate", Config{}, []string{acmeProtocol}, "", true},
		{"raw", Config{Raw: true}, []string{"imap"}, "", false},
		{"raw, h2", Config{Raw: true}, []string{"h2"}, "", false},
		{"raw, with ACME", Config{Raw: true, ACME: withACME}, []string{"imap"}, "", false},
		{"with ACME", Config{ACME: withACME}, []string{"h2", acmeProtocol}, "h2", false},
		{"with ACME, without HTTP", Config{ACME: withACME}, []string{"imap", acmeProtocol}, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRig(t, setting{Config: tt.cfg}, echoing)
			conn, err := tls.DialWithDialer(&net.Dialer{Timeout: testTimeout}, "tcp", r.addr, r.tls(tt.offers...))
			if err == nil {
				defer conn.Close()
			}
			if (err != nil) != tt.fails {
				t.Fatalf("got %v, want an error: %v", err, tt.fails)
			}
			if err == nil && conn.ConnectionState().NegotiatedProtocol != tt.want {
				t.Errorf("got %q, want %q", conn.ConnectionState().NegotiatedProtocol, tt.want)
			}
		})
	}
}

// proofs is a cache with the certificate of a challenge in progress.
type proofs struct{ site }

func (p proofs) Get(_ context.Context, key string) ([]byte, error) {
	if key == chat+"+token" {
		return []byte(p.key + p.chain), nil
	}
	return nil, autocert.ErrCacheMiss
}

func (proofs) Put(context.Context, string, []byte) error { return nil }
func (proofs) Delete(context.Context, string) error      { return nil }

// A challenge of a certificate authority is answered whatever the route requires
// of clients, and the connection can be used for nothing else.
func TestProofForAuthority(t *testing.T) {
	proof := newSite(t)
	acme := &ACME{Manager: &autocert.Manager{Prompt: autocert.AcceptTOS, HostPolicy: autocert.HostWhitelist(chat), Cache: proofs{proof}}}
	trusted := mustLoad(t, pemOf(newRoot(t, "clients")))
	clients := func(strict bool) *CertPolicy {
		return &CertPolicy{Authorities: func() *Authorities { return trusted }, Strict: strict}
	}
	for name, cfg := range map[string]Config{
		"HTTP": {}, "raw": {Raw: true}, "certificates": {Clients: clients(false)}, "certificates, strict": {Clients: clients(true)}, "modern": {Profile: Modern},
	} {
		t.Run(name, func(t *testing.T) {
			reached := startRecorder(t, nil)
			cfg.ACME = acme
			r := startRig(t, setting{Config: cfg}, reached.addr)
			c := r.tls(acmeProtocol)
			c.InsecureSkipVerify = true
			conn := r.dial(c)
			state := conn.ConnectionState()
			want, _ := pem.Decode([]byte(proof.chain))
			if state.NegotiatedProtocol != acmeProtocol || !bytes.Equal(state.PeerCertificates[0].Raw, want.Bytes) {
				t.Errorf("got protocol %q and the wrong certificate", state.NegotiatedProtocol)
			}
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+chat+"\r\n\r\n")
			if b, _ := io.ReadAll(conn); len(b) > 0 || len(reached.take()) > 0 {
				t.Errorf("got %q", b)
			}
		})
	}
}

// After Retire, requests in progress finish, idle connections are closed, and
// connections that still arrive are served.
func TestRetire(t *testing.T) {
	eachProtocol(t, func(t *testing.T, protocol string) {
		arrived, finish := make(chan bool, 1), make(chan bool)
		server := startRecorder(t, func(w http.ResponseWriter, q *http.Request) {
			if q.URL.Path == "/slow" {
				arrived <- true
				<-finish
			}
			_, _ = io.WriteString(w, q.URL.Path)
		})
		r := startRig(t, setting{}, server.addr)
		before := runtime.NumGoroutine()

		waiting := r.dial(r.tls("http/1.1"))
		_, _ = io.WriteString(waiting, "GET /kept HTTP/1.1\r\nHost: "+chat+"\r\n\r\n")
		if got := readAnswers(t, waiting, 1); len(got) != 1 || got[0].Close {
			t.Fatalf("got %v", got)
		}
		slow := make(chan answer, 1)
		client := r.client(protocol)
		go func() {
			res, err := client.Get("https://" + chat + "/slow")
			if err != nil {
				slow <- answer{body: err.Error()}
				return
			}
			defer res.Body.Close()
			b, _ := io.ReadAll(res.Body)
			slow <- answer{res, string(b)}
		}()
		within(t, "the request has reached the server", arrived)
		old := r.front.Load()
		r.Retire()
		within(t, "the old front is closed", old.done)
		if _, err := waiting.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("idle connection: got %v", err)
		}
		late := r.get("HTTP/1.1", "/late")
		if late.StatusCode != 200 || late.body != "/late" || !late.Close {
			t.Errorf("late: got %s, %q, close %v", late.Status, late.body, late.Close)
		}
		if late := r.get("HTTP/2.0", "/late"); late.StatusCode != 200 || late.body != "/late" {
			t.Errorf("late: got %s, %q", late.Status, late.body)
		}
		close(finish)
		if got := within(t, "the request finishes", slow); got.Response == nil || got.StatusCode != 200 || got.body != "/slow" {
			t.Errorf("request in progress: got %+v", got)
		}
		client.CloseIdleConnections()
		r.front.Load().shutDown()
		eventually(t, "the goroutines have ended", func() bool { return runtime.NumGoroutine() <= before-1 })
		if t.Failed() {
			b := make([]byte, 1<<20)
			t.Logf("%d goroutines, before %d: %s", runtime.NumGoroutine(), before, b[:runtime.Stack(b, true)])
		}
	})
}

// Connections that arrive during Retire are served by the old or the new front.
func TestRetireLosesNoConnection(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	stop := make(chan bool)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := r.tls("http/1.1")
				conn, err := tls.DialWithDialer(&net.Dialer{Timeout: testTimeout}, "tcp", r.addr, c)
				if err != nil {
					t.Error(err)
					return
				}
				_ = conn.SetDeadline(time.Now().Add(testTimeout))
				_, _ = io.WriteString(conn, "GET /a HTTP/1.1\r\nHost: "+chat+"\r\n\r\n")
				if got := readAnswers(t, conn, 1); len(got) != 1 || got[0].StatusCode != 200 {
					t.Errorf("got %v", got)
				}
				conn.Close()
			}
		})
	}
	for range 20 {
		old := r.front.Load()
		r.Retire()
		within(t, "the front is closed", old.done)
	}
	close(stop)
	clients.Wait()
}

// A connection that is being passed to a front when that closes goes to the next
// front. If there is none, the connection is closed.
func TestRetiredFrontPassesOn(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	good := r.front.Load()
	deaf := &front{conns: make(chan net.Conn), done: make(chan struct{})}
	for range 10 {
		r.front.Store(deaf)
		conn := r.dial(r.tls("http/1.1"))
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+chat+"\r\nConnection: close\r\n\r\n")
		r.front.Store(good)
		_ = deaf.Close()
		if got := readAnswers(t, conn, 1); len(got) != 1 || got[0].StatusCode != 200 {
			t.Fatalf("got %v", got)
		}
		deaf = &front{conns: make(chan net.Conn), done: make(chan struct{})}
	}
	r.front.Store(deaf)
	_ = deaf.Close()
	if b, err := io.ReadAll(r.dial(r.tls("http/1.1"))); len(b) > 0 || err != nil {
		t.Errorf("got %q, %v; want EOF", b, err)
	}
	r.front.Store(good)
}

// However connections and requests end, no server stays active.
func TestServersAreReleasedInEveryCase(t *testing.T) {
	server := startRecorder(t, nil)
	silent := startScript(t, func(_ net.Conn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	r := startRig(t, setting{
		Config: Config{Limits: Limits{ResponseTimeout: 20 * time.Millisecond}},
	}, server.addr, closedAddr(t), answering(t, "HTTP/1.1 101 Switching Protocols\r\n\r\n"), answering(t, "HTTP/1.1 007 Bond\r\n\r\n"), silent,
		answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"))
	for range 3 {
		for range 6 {
			for _, request := range []string{
				"GET / HTTP/1.1\r\nHost: " + chat + "\r\nConnection: close\r\n\r\n",
				"POST / HTTP/1.1\r\nHost: " + chat + "\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
				handshake("/"),
			} {
				conn := r.dial(r.tls("http/1.1"))
				_, _ = io.WriteString(conn, request)
				_, _ = bufio.NewReader(conn).ReadByte()
				conn.Close()
			}
		}
	}
	r.settle()
}

// Served gets the server that answered last.
func TestServedGetsTheServer(t *testing.T) {
	one, two := startRecorder(t, nil), startRecorder(t, nil)
	r := startRig(t, setting{}, one.addr, two.addr)
	client := r.client("HTTP/2.0")
	for range 4 {
		r.do(client, newRequest(t, "GET", "/", nil))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if got, want := fmt.Sprint(r.served), fmt.Sprint([]string{one.addr, two.addr, one.addr, two.addr}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
