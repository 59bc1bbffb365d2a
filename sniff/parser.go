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
// together look at each record once. A Parser holds no memory but itself: a
// hello in several records is joined, once it is whole, in memory of h that is
// kept for the next, at most Limit bytes.
func (p *Parser) Parse(b []byte, h *Hello) error {
	if p.reject != nil {
		return p.reject
	}
	limit := p.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	msg, err := p.joiner.join(b, limit, &h.joined)
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
// Limit.
func (p *Parser) Reset() { *p = Parser{Limit: p.Limit} }
