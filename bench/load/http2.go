package load

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// The frames of HTTP/2 (RFC 9113, section 6) that are used.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameWindowUpdate = 8

	flagAck        = 1 // of SETTINGS and PING
	flagEndStream  = 1 // of DATA and HEADERS
	flagEndHeaders = 4
	flagPadded     = 8

	frameHead    = 9
	maxFrame     = 16 << 10 // payload, RFC 9113's initial SETTINGS_MAX_FRAME_SIZE
	streamWindow = 6 << 20  // bytes, the value of Chrome; more than any response
	connWindow   = 15 << 20 // of all streams together
)

// clientPreface begins a connection: the magic, settings of one value
// (SETTINGS_INITIAL_WINDOW_SIZE, 4), and a window for all streams together.
func clientPreface() []byte {
	b := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	b = appendFrame(b, frameSettings, 0, 0, binary.BigEndian.AppendUint32([]byte{0, 4}, streamWindow))
	return appendFrame(b, frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, connWindow))
}

func appendFrame(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// requestBlocks are the headers of a connection's first request, which puts
// them into the peer's table, and of the others, which refer to it (RFC 7541,
// sections 6.2.1 and 6.1), as browsers do. All are shorter than 127 bytes, and
// together shorter than a table of 4096.
func requestBlocks(o RequestOptions, host string) (first, next []byte) {
	fields := append([]field{{":method", o.method()}, {":scheme", "https"}, {":path", o.path()}, {":authority", host}}, o.fields()...)
	for i, f := range fields {
		first = append(first, 0x40, byte(len(f.name)))
		first = append(first, strings.ToLower(f.name)...)
		first = append(append(first, byte(len(f.value))), f.value...)
		next = append(next, 0x80|byte(62+len(fields)-1-i)) // the newest is 62
	}
	return first, next
}

// multiplexed are connections of HTTP/2. Each is used by one goroutine, so that
// requests which begin together are written together.
type multiplexed struct {
	client      *client
	opts        RequestOptions
	cfg         *tls.Config
	first, next []byte
	conns       []*h2Conn // nil: broken
	crowd       crowd
}

func newMultiplexed(ctx context.Context, c *client, o RequestOptions) (Load, error) {
	m := &multiplexed{client: c, opts: o, cfg: c.tlsClient("h2"), crowd: newCrowd(o.Conns)}
	m.first, m.next = requestBlocks(o, c.ServerName)
	var err error
	m.conns, err = openEach(o.Conns, func() (*h2Conn, error) { return m.open(ctx) })
	return m, err
}

func (m *multiplexed) Close() { closeAll(m.conns) }

func (m *multiplexed) open(ctx context.Context) (*h2Conn, error) {
	conn, err := m.client.secure(ctx, m.cfg)
	if err != nil {
		return nil, err
	}
	return &h2Conn{
		Conn: conn, of: m, in: bufio.NewReaderSize(conn, httpBuffer), out: clientPreface(),
		stream: 1, block: m.first, open: make(map[uint32]h2Request), payload: make([]byte, maxFrame),
	}, nil
}

func (m *multiplexed) Run(ctx context.Context) (Outcome, error) {
	late, cancel := graced(ctx)
	defer cancel()
	out := m.crowd.run(ctx, func(i int, t *tally) {
		for ctx.Err() == nil {
			if m.conns[i] == nil && !m.reopen(late, i, t) {
				continue
			}
			m.use(ctx, late, i, t)
		}
	})
	out.Bytes = m.opts.moved(out.Count)
	return out, nil
}

func (m *multiplexed) reopen(ctx context.Context, i int, t *tally) bool {
	c, err := m.open(ctx)
	if err != nil {
		t.failed(ctx, err)
		pause(ctx, errorPause)
		return false
	}
	m.conns[i] = c
	return true
}

// use makes requests on connection i until ctx ends or the connection breaks,
// which fails all requests in progress.
func (m *multiplexed) use(ctx, late context.Context, i int, t *tally) {
	c := m.conns[i]
	release := interrupt(late, c)
	defer release()
	if err := c.run(ctx, t); err != nil {
		for range max(1, len(c.open)) {
			t.failed(late, err)
		}
		c.Close()
		m.conns[i] = nil
	}
}

// h2Conn is a connection of HTTP/2. It belongs to one goroutine.
type h2Conn struct {
	*tls.Conn
	of       *multiplexed
	in       *bufio.Reader
	out      []byte // frames to be written
	payload  []byte // of the frame that is read
	block    []byte // headers of the next request
	stream   uint32 // of the next request
	open     map[uint32]h2Request
	received uint32 // bytes received since the last WINDOW_UPDATE
}

// h2Request is a request in progress.
type h2Request struct {
	begun    time.Time
	answered bool // with status 200
	got      int  // bytes of the body
}

// run keeps all streams in use until ctx ends, and then waits for the last ones.
func (c *h2Conn) run(ctx context.Context, t *tally) error {
	for {
		for ctx.Err() == nil && len(c.open) < c.of.opts.Streams {
			c.begin()
		}
		if len(c.open) == 0 {
			return nil
		}
		if len(c.out) > 0 {
			if _, err := c.Write(c.out); err != nil {
				return err
			}
			c.out = c.out[:0]
		}
		if err := c.readSome(t); err != nil {
			return err
		}
	}
}

func (c *h2Conn) begin() {
	c.out = appendFrame(c.out, frameHeaders, flagEndStream|flagEndHeaders, c.stream, c.block)
	c.open[c.stream] = h2Request{begun: time.Now()}
	c.stream += 2
	c.block = c.of.next
}

// readSome handles one frame, and those already buffered after it.
func (c *h2Conn) readSome(t *tally) error {
	for {
		if err := c.readFrame(t); err != nil {
			return err
		}
		if c.in.Buffered() < frameHead {
			return nil
		}
	}
}

func (c *h2Conn) readFrame(t *tally) error {
	var h [frameHead]byte
	if _, err := io.ReadFull(c.in, h[:]); err != nil {
		return err
	}
	n := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
	if n > maxFrame {
		return fmt.Errorf("a frame of %d bytes", n)
	}
	payload := c.payload[:n]
	if _, err := io.ReadFull(c.in, payload); err != nil {
		return err
	}
	return c.take(h[3], h[4], binary.BigEndian.Uint32(h[5:])&(1<<31-1), payload, t)
}

var (
	errGoAway = errors.New("the proxy wants no more requests")
	errReset  = errors.New("the stream was reset")
)

// take handles one frame.
func (c *h2Conn) take(kind, flags byte, stream uint32, payload []byte, t *tally) error {
	r, known := c.open[stream]
	switch kind {
	case frameSettings, framePing:
		c.acknowledge(kind, flags, payload)
		return nil
	case frameGoAway:
		return errGoAway
	case frameReset:
		if known {
			return errReset
		}
		return nil
	case frameHeaders:
		r.answered = r.answered || flags&flagPadded == 0 && isOK(payload)
	case frameData:
		r.got += len(payload)
		c.widen(uint32(len(payload)))
	default:
		return nil
	}
	if !known {
		return fmt.Errorf("a frame of kind %d for stream %d, which is over", kind, stream)
	}
	c.open[stream] = r
	if flags&flagEndStream == 0 {
		return nil
	}
	return c.finish(stream, r, t)
}

func (c *h2Conn) finish(stream uint32, r h2Request, t *tally) error {
	if !r.answered || r.got != c.of.opts.Response {
		return fmt.Errorf("the response has status 200: %v, and %d bytes, want %d", r.answered, r.got, c.of.opts.Response)
	}
	delete(c.open, stream)
	t.done(time.Since(r.begun))
	return nil
}

func (c *h2Conn) acknowledge(kind, flags byte, payload []byte) {
	if flags&flagAck != 0 {
		return
	}
	if kind == frameSettings {
		payload = nil
	}
	c.out = appendFrame(c.out, kind, flagAck, 0, payload)
}

// widen sends a WINDOW_UPDATE when enough bytes were received.
func (c *h2Conn) widen(n uint32) {
	if c.received += n; c.received > connWindow/2 {
		c.out = appendFrame(c.out, frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, c.received))
		c.received = 0
	}
}

// isOK reports whether a header block begins with status 200, which is 8 in
// the static table. New sizes of the table may come first (RFC 7541, sections
// 6.3 and 4.2).
func isOK(block []byte) bool {
	for len(block) > 0 && block[0]>>5 == 1 {
		more := block[0]&0x1f == 0x1f
		block = block[1:]
		for more && len(block) > 0 {
			more = block[0]&0x80 != 0
			block = block[1:]
		}
	}
	return len(block) > 0 && block[0] == 0x88
}
