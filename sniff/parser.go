package sniff

// DefaultLimit is the Parser's limit when none is set, in bytes. Post-quantum
// hellos take about 1.7 KB, and those that resume a session whose ticket holds
// the client's certificate chain 12 KB.
const DefaultLimit = 32 << 10

// Parser finds the first ClientHello of one connection in the bytes received
// so far, which may arrive in any number of pieces and be spread over any
// number of records. The zero value is ready to use. A Parser serves one
// connection at a time and is not safe for concurrent use.
type Parser struct {
	// Limit bounds the bytes that the hello may take on the wire, record
	// headers included. 0 means DefaultLimit.
	Limit int

	joiner joiner
	reject *Reject
}

// Parse looks at b, all bytes that the client has sent so far: each call
// passes the bytes of the last one and more behind them. It returns nil and
// fills h, or ErrNeedMore, or a *Reject; after an error h means nothing but
// for RawName. A verdict is final: further calls repeat it.
//
// What the headers of records and message decide is decided as soon as those
// bytes are there; the message itself is judged once it is whole. A call that
// brings too few new bytes for either costs a comparison, and all calls
// together join each byte once. Parse allocates only for a hello in several
// records, at most twice and at most Limit bytes, or 4 KiB if that is more.
func (p *Parser) Parse(b []byte, h *Hello) error {
	if p.reject != nil {
		return p.reject
	}
	limit := p.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	msg, err := p.joiner.join(b, limit)
	if err == nil {
		err = h.parse(msg[handshakeHeaderLen:])
	}
	if err != nil {
		p.reject, _ = err.(*Reject)
		return err
	}
	h.Length = p.joiner.wire
	h.Trailing = len(b) > h.Length
	return nil
}

// Reset prepares the Parser for another connection: it forgets everything but
// Limit and invalidates every Hello it has filled. Memory of up to 4 KiB is
// kept for reuse.
func (p *Parser) Reset() {
	p.joiner.reset()
	p.reject = nil
}
