package sniff

import "strconv"

// Alert is the description of a TLS alert (RFC 8446 section 6.2). The zero
// value, AlertNone, means that the peer gets no alert.
type Alert uint8

// The alerts for rejected hellos. This package never returns
// AlertUnrecognizedName: it is for a router that has no route for a valid hello.
const (
	AlertNone              Alert = 0 // the bytes are not TLS: close silently
	AlertUnexpectedMessage Alert = 10
	AlertRecordOverflow    Alert = 22
	AlertIllegalParameter  Alert = 47
	AlertDecodeError       Alert = 50
	AlertUnrecognizedName  Alert = 112
)

// AppendRecord appends the 7 bytes of the fatal alert, a record of version
// 0x0303, to dst. For AlertNone it appends nothing.
func (a Alert) AppendRecord(dst []byte) []byte {
	const fatal = 2
	if a == AlertNone {
		return dst
	}
	return append(dst, recordAlert, 3, 3, 0, 2, fatal, byte(a))
}

// String returns the name of the alert in RFC 8446, "none" for AlertNone, and
// the number for an alert that is not among the constants above.
func (a Alert) String() string {
	switch a {
	case AlertNone:
		return "none"
	case AlertUnexpectedMessage:
		return "unexpected_message"
	case AlertRecordOverflow:
		return "record_overflow"
	case AlertIllegalParameter:
		return "illegal_parameter"
	case AlertDecodeError:
		return "decode_error"
	case AlertUnrecognizedName:
		return "unrecognized_name"
	}
	return strconv.Itoa(int(a))
}
