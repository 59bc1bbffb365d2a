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

// SecretHeader is where RequestOptions.Secret goes.
const SecretHeader = "X-Mattermost-Preauth-Secret"

// RequestOptions say what is asked over TLS, and how.
type RequestOptions struct {
	Secret   string // of every request
	Response int    // bytes that each request brings
	Body     int    // bytes that each request of HTTP/1.1 has
	Conns    int    // connections at a time
	Streams  int    // speak HTTP/2, with so many requests at a time on each connection; 0: HTTP/1.1
	Resume   bool   // of visits: resume an earlier session
}

// moved is how many bytes of bodies n requests move.
func (o RequestOptions) moved(n int64) int64 { return n * int64(o.Response+o.Body) }

// field is a header.
type field struct{ name, value string }

// fields are headers as an app of Mattermost sends them.
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

// request is one of HTTP/1.1, with its body, as it is sent.
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

// httpBuffer is for reading responses, in bytes: two TLS records.
const httpBuffer = 32 << 10

// session is a TLS connection on which HTTP/1.1 is spoken.
type session struct {
	*tls.Conn
	in *textproto.Reader
}

// tlsClient asks for one protocol. Its only key share is one that all peers
// have: OpenSSL has a post-quantum one since 3.5 only.
func (c *client) tlsClient(protocol string) *tls.Config {
	return &tls.Config{
		ServerName: c.ServerName, InsecureSkipVerify: true,
		CurvePreferences: []tls.CurveID{tls.X25519}, NextProtos: []string{protocol},
	}
}

// secure dials and shakes hands, within ctx and ioTimeout. The deadline of the
// connection stays.
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

// answer reads the head of a response, which must have this status.
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
