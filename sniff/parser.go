package sniff

// DefaultLimit is the Parser's limit when none is set, in bytes. Post-quantum
// hellos have about 1.7 KB, and those that resume a session whose ticket
// contains the client's certificate chain have 12 KB.
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

// Parse parses b, all bytes that the client has sent so far: each call passes
// the bytes of the previous one followed by new ones. It returns nil and fills
// h, or ErrNeedMore, or a *Reject. After an error only RawName of h is valid. A
// Reject is final: further calls return it again.
//
// Errors in the headers of records and message are reported as soon as their
// bytes have arrived, errors in the message once it is complete. A call with too
// few new bytes for either costs one comparison, and all calls together examine
// each record once. A Parser allocates nothing itself: a hello in several
// records is joined, once it is complete, in a buffer of h of at most Limit
// bytes, which the next Parse into h reuses.
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

// Reset prepares the Parser for another connection. It keeps only Limit.
func (p *Parser) Reset() { *p = Parser{Limit: p.Limit} }
