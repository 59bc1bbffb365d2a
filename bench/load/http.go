package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net/textproto"
	"strconv"
	"strings"
)

// SecretHeader is the header of RequestOptions.Secret.
const SecretHeader = "X-Mattermost-Preauth-Secret"

// RequestOptions describe requests over TLS.
type RequestOptions struct {
	Secret   string // of every request
	Response int    // size of each response in bytes
	Body     int    // size of each HTTP/1.1 request's body in bytes
	Conns    int    // concurrent connections
	Streams  int    // use HTTP/2, with this number of concurrent requests on each connection; 0 means HTTP/1.1
	Resume   bool   // for visits: resume an earlier session
}

// moved returns the bytes of the bodies of n requests and their responses.
func (o RequestOptions) moved(n int64) int64 { return n * int64(o.Response+o.Body) }

// field is a header.
type field struct{ name, value string }

// fields are the headers that an app of Mattermost sends.
func (o RequestOptions) fields() []field {
	return []field{
		{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"},
		{"Accept", "*/*"},
		{"Accept-Language", "en-US,en;q=0.9"},
		{"Authorization", "Bearer bz7xg8t3wjrqpq1m9yd6c5o4na"},
		{"X-Requested-With", "XMLHttpRequest"},
		{SecretHeader, o.Secret},
	}
}

func (o RequestOptions) path() string { return "/" + strconv.Itoa(o.Response) }

func (o RequestOptions) method() string {
	if o.Body > 0 {
		return "POST"
	}
	return "GET"
}

// request returns an HTTP/1.1 request with its body in wire format.
func (o RequestOptions) request(host string, more ...field) []byte {
	if o.Body > 0 {
		more = append(more, field{"Content-Length", strconv.Itoa(o.Body)})
	}
	return append(head(o.method()+" "+o.path(), host, append(o.fields(), more...)), make([]byte, o.Body)...)
}

func head(what, host string, fields []field) []byte {
	b := fmt.Appendf(nil, "%s HTTP/1.1\r\nHost: %s\r\n", what, host)
	for _, f := range fields {
		b = fmt.Appendf(b, "%s: %s\r\n", f.name, f.value)
	}
	return append(b, "\r\n"...)
}

// httpBuffer is the size in bytes of the buffer for responses: two TLS records.
const httpBuffer = 32 << 10

// session is a TLS connection with HTTP/1.1.
type session struct {
	*tls.Conn
	in *textproto.Reader
}

// tlsClient offers one protocol. Its only key share is one that all peers
// support: OpenSSL has a post-quantum one only since 3.5.
func (c *client) tlsClient(protocol string) *tls.Config {
	return &tls.Config{
		ServerName: c.ServerName, InsecureSkipVerify: true,
		CurvePreferences: []tls.CurveID{tls.X25519}, NextProtos: []string{protocol},
	}
}

// secure dials and makes a TLS handshake, within ctx and ioTimeout. It leaves
// the deadline of the connection set.
func (c *client) secure(ctx context.Context, cfg *tls.Config) (*tls.Conn, error) {
	raw, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(ioDeadline(ctx))
	conn := tls.Client(raw, cfg)
	if err := conn.Handshake(); err != nil {
		raw.Close()
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if got, want := conn.ConnectionState().NegotiatedProtocol, cfg.NextProtos[0]; got != want {
		raw.Close()
		return nil, fmt.Errorf("handshake: the protocol is %q, want %q", got, want)
	}
	return conn, nil
}

func (c *client) session(ctx context.Context, cfg *tls.Config) (*session, error) {
	conn, err := c.secure(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &session{conn, textproto.NewReader(bufio.NewReaderSize(conn, httpBuffer))}, nil
}

// ask sends a request and reads the whole response, whose body has size bytes.
func (s *session) ask(request []byte, size int) error {
	if _, err := s.Write(request); err != nil {
		return err
	}
	h, err := s.answer("200")
	if err != nil {
		return err
	}
	if got := h.Get("Content-Length"); got != strconv.Itoa(size) {
		return fmt.Errorf("the response has %q bytes, want %d", got, size)
	}
	_, err = s.in.R.Discard(size)
	return err
}

// answer reads the head of a response, which must have the given status.
func (s *session) answer(status string) (textproto.MIMEHeader, error) {
	line, err := s.in.ReadLine()
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(line, "HTTP/1.1 "+status) {
		return nil, fmt.Errorf("the answer is %q, want status %s", line, status)
	}
	return s.in.ReadMIMEHeader()
}
