package terminate

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// Types of TLS records (RFC 8446 appendix B.1), and an unassigned one.
const (
	changeCipherSpec = 20
	alertRecord      = 21
	handshakeRecord  = 22
	dataRecord       = 23
	unknownRecord    = 99
)

// Messages after the handshake.
var (
	update      = []byte{24, 0, 0, 1, 0} // KeyUpdate (RFC 8446 section 4.6.3)
	updateBoth  = []byte{24, 0, 0, 1, 1} // with update_requested
	askForHello = []byte{0, 0, 0, 0}     // HelloRequest, which only servers send (RFC 5246 section 7.4.1.1)
)

// recordClient completes a handshake and then writes TLS records of its own.
// Read returns the data of the server.
type recordClient struct {
	tcp     net.Conn
	in      *tls.Conn // only read from
	hello   []byte    // the record with the ClientHello
	secret  []byte    // of TLS 1.3, current
	suite   uint16
	version uint16
	out     cipher.AEAD
	iv      []byte
	seq     uint64
}

// records performs a handshake with a version of TLS.
func (r *rig) records(version uint16, protocols ...string) *recordClient {
	r.t.Helper()
	tcp, err := net.DialTimeout("tcp", r.addr, testTimeout)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { tcp.Close() })
	_ = tcp.SetDeadline(time.Now().Add(testTimeout))
	var keys bytes.Buffer
	heard := &hearing{Conn: tcp}
	config := r.tls(protocols...)
	config.KeyLogWriter, config.MinVersion, config.MaxVersion = &keys, version, version
	config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256} // for TLS 1.2
	c := &recordClient{tcp: tcp, in: tls.Client(heard, config), version: version}
	if err := c.in.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	c.suite, c.hello = c.in.ConnectionState().CipherSuite, heard.out
	if version == tls.VersionTLS13 {
		c.use(logged(r, keys.String(), "CLIENT_TRAFFIC_SECRET_0"))
		return c
	}
	const random = 5 + 4 + 2 // offset in the record of a hello: after the headers of record and message, and the version
	seed := append(bytes.Clone(heard.in[random:random+32]), heard.out[random:random+32]...)
	block := prf12(logged(r, keys.String(), "CLIENT_RANDOM"), "key expansion", seed, 2*16+2*4)
	c.out, c.iv, c.seq = newGCM(block[:16]), block[32:36], 1 // after Finished
	return c
}

// hearing records what is sent and received first.
type hearing struct {
	net.Conn
	out, in []byte
}

func (h *hearing) Write(b []byte) (int, error) {
	if h.out == nil {
		h.out = bytes.Clone(b)
	}
	return h.Conn.Write(b)
}

func (h *hearing) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	if len(h.in) < 64 {
		h.in = append(h.in, b[:n]...)
	}
	return n, err
}

// logged returns a secret from a key log.
func logged(r *rig, log, label string) []byte {
	r.t.Helper()
	for line := range strings.Lines(log) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == label {
			b, err := hex.DecodeString(f[2])
			if err != nil {
				r.t.Fatal(err)
			}
			return b
		}
	}
	r.t.Fatalf("no %s in %q", label, log)
	return nil
}

// use derives the keys from a traffic secret of TLS 1.3 (RFC 8446 section 7.3).
func (c *recordClient) use(secret []byte) {
	c.secret, c.seq, c.iv = secret, 0, expandLabel(secret, "iv", 12)
	if c.suite == tls.TLS_CHACHA20_POLY1305_SHA256 { // chosen by crypto/tls on machines without AES instructions
		c.out, _ = chacha20poly1305.New(expandLabel(secret, "key", chacha20poly1305.KeySize))
		return
	}
	c.out = newGCM(expandLabel(secret, "key", 16))
}

func newGCM(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return a
}

func expandLabel(secret []byte, label string, length int) []byte {
	label = "tls13 " + label
	info := fmt.Sprintf("\x00%c%c%s\x00", length, len(label), label)
	b, err := hkdf.Expand(sha256.New, secret, info, length)
	if err != nil {
		panic(err)
	}
	return b
}

// prf12 is the pseudorandom function of TLS 1.2 (RFC 5246 section 5).
func prf12(secret []byte, label string, seed []byte, length int) (all []byte) {
	sum := func(parts ...[]byte) []byte {
		h := hmac.New(sha256.New, secret)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	seed = append([]byte(label), seed...)
	for a := sum(seed); len(all) < length; a = sum(a) {
		all = append(all, sum(a, seed)...)
	}
	return all[:length]
}

// seal appends an encrypted record to b, and derives the next key if it is a
// KeyUpdate.
func (c *recordClient) seal(b []byte, typ byte, payload []byte) []byte {
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], c.seq)
	c.seq++
	if c.version == tls.VersionTLS12 {
		header := []byte{typ, 3, 3, 0, 0}
		binary.BigEndian.PutUint16(header[3:], uint16(8+len(payload)+c.out.Overhead()))
		about := binary.BigEndian.AppendUint16(append(seq[:], typ, 3, 3), uint16(len(payload)))
		b = append(append(b, header...), seq[:]...)
		return c.out.Seal(b, append(bytes.Clone(c.iv), seq[:]...), payload, about)
	}
	inner := append(bytes.Clone(payload), typ)
	header := binary.BigEndian.AppendUint16([]byte{dataRecord, 3, 3}, uint16(len(inner)+c.out.Overhead()))
	nonce := bytes.Clone(c.iv)
	for i, s := range seq {
		nonce[4+i] ^= s
	}
	b = c.out.Seal(append(b, header...), nonce, inner, header)
	if typ == handshakeRecord && (bytes.Equal(payload, update) || bytes.Equal(payload, updateBoth)) {
		c.use(expandLabel(c.secret, "traffic upd", 32))
	}
	return b
}

// Write sends a record of application data.
func (c *recordClient) Write(b []byte) (int, error) {
	if _, err := c.tcp.Write(c.seal(nil, dataRecord, b)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Read implements io.Reader.
func (c *recordClient) Read(b []byte) (int, error) { return c.in.Read(b) }
