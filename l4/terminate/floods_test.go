package terminate

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// Request headers larger than the limit are refused.
func TestHugeHeadersAreRefused(t *testing.T) {
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	host := "Host: " + chat + "\r\n"
	for name, head := range map[string]string{
		"one header":     "GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("a", 1<<20) + "\r\n",
		"a name":         "GET / HTTP/1.1\r\n" + host + strings.Repeat("a", 1<<20) + ": a\r\n",
		"10000 headers":  "GET / HTTP/1.1\r\n" + host + strings.Repeat("X-Aaaaaaa: b\r\n", 10_000),
		"100000 cookies": "GET / HTTP/1.1\r\n" + host + strings.Repeat("Cookie: a=b\r\n", 100_000),
		"a target":       "GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\n" + host,
		"a query":        "GET /?" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\n" + host,
		"a method":       strings.Repeat("A", 1<<20) + " / HTTP/1.1\r\n" + host,
	} {
		t.Run(name, func(t *testing.T) {
			got := r.raw(head+"\r\n", 1)
			if len(got) != 1 || got[0].StatusCode != 431 || len(server.take()) > 0 {
				t.Errorf("got %v, want 431", got)
			}
		})
	}
	t.Run("a trailer", func(t *testing.T) {
		got := r.raw("POST / HTTP/1.1\r\n"+host+"Transfer-Encoding: chunked\r\n\r\n0\r\nX: "+strings.Repeat("a", 1<<20)+"\r\n\r\n", 1)
		if len(got) > 0 && got[0].StatusCode < 400 {
			t.Errorf("got %v", got)
		}
	})
	t.Run("just below", func(t *testing.T) {
		got := r.raw("GET / HTTP/1.1\r\n"+host+"X: "+strings.Repeat("a", DefaultMaxHeader-1000)+"\r\n\r\n", 1)
		if len(got) != 1 || got[0].StatusCode != 200 {
			t.Errorf("got %v, want 200", got)
		}
	})
	t.Run("HTTP/2", func(t *testing.T) {
		q := newRequest(t, "GET", "/", nil)
		q.Header.Set("X", strings.Repeat("a", 4<<20))
		server.take()
		res, err := r.client("HTTP/2.0").Do(q)
		if err == nil {
			res.Body.Close()
		}
		if err == nil && res.StatusCode != 431 || len(server.take()) > 0 {
			t.Errorf("got %v, %v", res, err)
		}
	})
}

// A flood of frames ends the connection or is handled; other clients are served
// meanwhile, and memory returns to its previous level.
func TestHTTP2Floods(t *testing.T) {
	frames := uint32(10_000)
	if raced() {
		frames = 2000
	}
	server := startRecorder(t, nil)
	r := startRig(t, setting{}, server.addr)
	if got := r.get("HTTP/2.0", "/"); got.StatusCode != 200 {
		t.Fatalf("got %s", got.Status)
	}
	request := []string{":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat}
	for name, frame := range map[string]func(h *http2Client, i uint32) error{
		"rapid reset": func(h *http2Client, i uint32) error {
			err := h.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: block(request...), EndHeaders: true, EndStream: true})
			if err != nil {
				return err
			}
			return h.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
		},
		"CONTINUATION": func(h *http2Client, i uint32) error {
			if i == 0 {
				return h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(request...)})
			}
			return h.WriteContinuation(1, false, block("x-a", strings.Repeat("b", 1000)))
		},
		"empty CONTINUATION": func(h *http2Client, i uint32) error {
			if i == 0 {
				return h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block(request...)})
			}
			return h.WriteContinuation(1, false, nil)
		},
		"SETTINGS":     func(h *http2Client, _ uint32) error { return h.WriteSettings() },
		"PING":         func(h *http2Client, _ uint32) error { return h.WritePing(false, [8]byte{}) },
		"empty DATA":   func(h *http2Client, i uint32) error { return upload(h, i, nil) },
		"PRIORITY":     func(h *http2Client, i uint32) error { return h.WritePriority(2*i+1, http2.PriorityParam{Weight: 1}) },
		"window by 1":  func(h *http2Client, _ uint32) error { return h.WriteWindowUpdate(0, 1) },
		"HPACK bombs":  bomb,
		"many streams": func(h *http2Client, i uint32) error { return upload(h, 0, &i) },
	} {
		t.Run(name, func(t *testing.T) {
			before := inUse()
			h := r.http2()
			go func() { _, _ = io.Copy(io.Discard, h.conn) }() // ends with the connection
			sent := 0
			for i := range frames {
				if frame(h, i) != nil {
					break
				}
				sent++
			}
			if got := r.get("HTTP/2.0", "/"); got.StatusCode != 200 {
				t.Errorf("another client got %s", got.Status)
			}
			if got := inUse(); got > before+24<<20 {
				t.Errorf("after %d frames memory grew from %d to %d bytes", sent, before, got)
			}
			h.conn.Close()
			eventually(t, "the server has no active request", func() bool { return r.pool.Servers()[0].Active() == 0 })
		})
	}
}

// upload starts a POST on a new stream, or continues the first one.
func upload(h *http2Client, i uint32, stream *uint32) error {
	id := uint32(1)
	if stream != nil {
		id = 2**stream + 1
	}
	if i == 0 {
		return h.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true,
			BlockFragment: block(":method", "POST", ":scheme", "https", ":path", "/", ":authority", chat)})
	}
	return h.WriteData(id, false, nil)
}

// bomb sends a header of 4000 bytes, and in the next request refers to it a
// thousand times with one byte each.
func bomb(h *http2Client, i uint32) error {
	fields := block(":method", "GET", ":scheme", "https", ":path", "/", ":authority", chat)
	entry := append([]byte{0x40, 3, 'x', '-', 'a', 0x7f, 0xa1, 0x1e}, bytes.Repeat([]byte("b"), 4000)...) // RFC 7541 section 6.2.1
	if i > 0 {
		entry = bytes.Repeat([]byte{0x80 | 62}, 1000) // the newest entry of the dynamic table
	}
	return h.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: append(fields, entry...), EndHeaders: true, EndStream: true})
}
