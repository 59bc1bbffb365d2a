package terminate

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// http2Client is an HTTP/2 client that writes single frames.
type http2Client struct {
	t    testing.TB
	conn *tls.Conn
	*http2.Framer
	fields *hpack.Decoder
}

// http2 opens a connection and exchanges settings.
func (r *rig) http2() *http2Client {
	r.t.Helper()
	conn := r.dial(r.tls("h2"))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		r.t.Fatal(err)
	}
	h := &http2Client{r.t, conn, http2.NewFramer(conn, conn), hpack.NewDecoder(4096, nil)}
	h.AllowIllegalWrites = true
	if err := h.WriteSettings(); err != nil {
		r.t.Fatal(err)
	}
	return h
}

// block encodes header fields, names and values alternating, without changing
// them.
func block(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return b.Bytes()
}

// request sends the headers of a request. end says that it has no body.
func (h *http2Client) request(stream uint32, end bool, fields ...string) {
	h.t.Helper()
	err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block(fields...), EndHeaders: true, EndStream: end})
	if err != nil {
		h.t.Fatal(err)
	}
}

// status waits for the status of the response on a stream. It returns "" if the
// stream or the connection ends without one.
func (h *http2Client) status(stream uint32) string {
	h.t.Helper()
	for {
		f, err := h.ReadFrame()
		if err != nil {
			if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
				h.t.Fatal("no response: ", err)
			}
			return ""
		}
		switch f := f.(type) {
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				return ""
			}
		case *http2.HeadersFrame:
			fields, err := h.fields.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				h.t.Fatal(err)
			}
			if f.StreamID == stream && fields[0].Name == ":status" {
				return fields[0].Value
			}
		}
	}
}
