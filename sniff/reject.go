package sniff

import "errors"

// ErrNeedMore reports that the bytes so far may be the beginning of a hello: the
// caller reads more and parses again.
var ErrNeedMore = errors.New("sniff: need more bytes")

// Reject reports that a connection does not begin with an acceptable hello. More
// bytes cannot change that. The only values are the variables of this package,
// which are compared by identity (errors.Is) and must not be modified.
type Reject struct {
	Alert  Alert  // to send to the client; AlertNone means to close silently
	Reason string // in snake_case, for a metric's label; see Reasons
	text   string
}

// Error describes the reject. The text contains no bytes from the peer.
func (r *Reject) Error() string { return "sniff: " + r.text }

// The rejects.
var (
	// ErrNotTLS: the first bytes are not a TLS record.
	ErrNotTLS = &Reject{AlertNone, "not_tls", "not a TLS record"}
	// ErrSSLv2: the first bytes are a hello of SSL 2.0 (RFC 6176).
	ErrSSLv2 = &Reject{AlertNone, "sslv2", "SSL 2.0 hello"}
	// ErrUnexpectedMessage: TLS, but the first message is not a ClientHello,
	// or there is other content between its records or at the end of the last
	// one (RFC 8446 section 5.1).
	ErrUnexpectedMessage = &Reject{AlertUnexpectedMessage, "unexpected_message", "not a ClientHello, or not only one"}
	// ErrEmptyRecord: a handshake record of no bytes (RFC 8446 section 5.1).
	ErrEmptyRecord = &Reject{AlertUnexpectedMessage, "empty_record", "empty handshake record"}
	// ErrRecordOverflow: a record longer than 2^14 bytes (RFC 8446 section 5.1).
	ErrRecordOverflow = &Reject{AlertRecordOverflow, "record_overflow", "record longer than 16384 bytes"}
	// ErrTooLarge: the hello cannot fit in Parser.Limit.
	ErrTooLarge = &Reject{AlertRecordOverflow, "too_large", "hello larger than the limit"}
	// ErrMalformed: a length or a list in the hello is wrong.
	ErrMalformed = &Reject{AlertDecodeError, "malformed", "malformed hello"}
	// ErrDuplicateExtension: two extensions of one type (RFC 8446 section 4.2).
	ErrDuplicateExtension = &Reject{AlertIllegalParameter, "duplicate_extension", "duplicate extension"}
	// ErrPSKNotLast: an extension follows pre_shared_key (RFC 8446 section 4.2.11).
	ErrPSKNotLast = &Reject{AlertIllegalParameter, "psk_not_last", "pre_shared_key is not the last extension"}
	// ErrBadName: the server name is empty, of an unknown type, or not a host
	// name (see AppendName).
	ErrBadName = &Reject{AlertIllegalParameter, "bad_name", "bad server name"}
	// ErrTwoNames: more than one entry in the server_name list.
	ErrTwoNames = &Reject{AlertIllegalParameter, "two_names", "more than one server name"}
)

// Reasons returns every Reason of a rejected hello, for metrics that create all
// labels at the start. The caller owns the slice.
func Reasons() []string {
	all := [...]*Reject{
		ErrNotTLS, ErrSSLv2, ErrUnexpectedMessage, ErrEmptyRecord,
		ErrRecordOverflow, ErrTooLarge, ErrMalformed, ErrDuplicateExtension,
		ErrPSKNotLast, ErrBadName, ErrTwoNames,
	}
	reasons := make([]string, len(all))
	for i, r := range all {
		reasons[i] = r.Reason
	}
	return reasons
}
